"""The two servers that a function speaks to: the Runtime API's host, and over TLS an AWS whose answers are constant."""

import queue
import socket
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path

import answers

# Seconds: what AWS takes for each call. Long enough for the function to fall asleep, as it does in Lambda.
AWS_TAKES = 0.005

# Seconds until a function that gives no answer is given up.
PATIENCE = 30


class Connection:
    """HTTP/1.1, as far as these clients speak it."""

    def __init__(self, stream):
        self.stream, self.rest = stream, b""

    def request(self):
        """Method, path, headers and body; None at the end."""
        while b"\r\n\r\n" not in self.rest:
            if not self.more():
                return None
        head, self.rest = self.rest.split(b"\r\n\r\n", 1)
        first, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value.strip() for name, value in (line.split(":", 1) for line in lines)}
        method, path, _ = first.split(" ")
        length = int(headers.get("content-length", 0))
        while len(self.rest) < length:
            if not self.more():
                return None
        body, self.rest = self.rest[:length], self.rest[length:]
        return method, path, headers, body

    def more(self):
        try:
            part = self.stream.recv(65536)
        except OSError:
            return False
        self.rest += part
        return bool(part)

    def respond(self, status, headers, body):
        lines = [f"HTTP/1.1 {status}", f"content-length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        try:
            self.stream.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        except OSError:
            # It has gone; the process was killed.
            pass


class Server:
    """Serves each connection in a thread; they wait for each other's events, not for the processor."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                stream, _ = self.listener.accept()
            except OSError:
                return
            stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self.serve, args=[stream], daemon=True).start()

    def serve(self, stream):
        try:
            stream = self.wrap(stream)
        except OSError:
            return
        self.converse(Connection(stream))
        stream.close()

    def wrap(self, stream):
        return stream

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


class RuntimeApi(Server):
    def __init__(self):
        self.events, self.answers, self.taken = queue.Queue(), queue.Queue(), 0
        super().__init__()

    def hand_over(self, event):
        self.events.put(event)

    def answer(self, target, log):
        """When the event was taken, and when its answer was there."""
        try:
            taken, answered, path, body = self.answers.get(timeout=PATIENCE)
        except queue.Empty:
            sys.exit(f"{target.name} gave no answer. Its log: {log.last.decode(errors='replace')}")
        if not path.endswith("/response"):
            sys.exit(f"{target.name} answered {path}: {body.decode()}. Its log: {log.last.decode(errors='replace')}")
        return taken, answered

    def converse(self, connection):
        while request := connection.request():
            now = time.perf_counter_ns()
            method, path, _, body = request
            if method == "GET":
                event = self.events.get()
                headers = {
                    "content-type": "application/json",
                    "lambda-runtime-aws-request-id": "8476a536-e9f4-11e8-9739-2dfe598c3fcd",
                    "lambda-runtime-deadline-ms": str(int((time.time() + PATIENCE) * 1000)),
                    "lambda-runtime-invoked-function-arn": "arn:aws:lambda:us-east-1:123456789012:function:bench",
                    "lambda-runtime-trace-id": "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Sampled=0",
                }
                self.taken = time.perf_counter_ns()
                connection.respond("200 OK", headers, event)
            else:
                self.answers.put((self.taken, now, path, body))
                connection.respond("202 Accepted", {}, b"")


class Aws(Server):
    def __init__(self, folder):
        self.trusted = make_certificates(folder)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "server.pem", folder / "server.key")
        self.context, self.handshakes = context, 0
        self.connections, self.calls, self.lock = 0, [], threading.Lock()
        super().__init__()
        self.url = f"https://localhost:{self.port}"

    def wrap(self, stream):
        # The other end computes too meanwhile, so it is the processor time of this end that counts.
        began = time.thread_time_ns()
        stream = self.context.wrap_socket(stream, server_side=True)
        with self.lock:
            self.handshakes += time.thread_time_ns() - began
        return stream

    def converse(self, connection):
        self.connections += 1
        while request := connection.request():
            began = time.perf_counter_ns()
            status, kind, body = answers.answer(*request)
            time.sleep(AWS_TAKES)
            headers = {"content-type": kind, "x-amzn-requestid": "8476a536-e9f4-11e8-9739-2dfe598c3fcd"}
            with self.lock:
                self.calls.append((began, time.perf_counter_ns()))
            connection.respond(status, headers, body)

    def busy(self, since, until):
        """How long at least one call was under way here; those at the same time count once. And the handshakes."""
        with self.lock:
            total, self.handshakes = self.handshakes, 0
            calls, self.calls = sorted(call for call in self.calls if since <= call[0] <= until), []
        end = since
        for began, ended in calls:
            total += max(0, ended - max(began, end))
            end = max(end, ended)
        return total


def make_certificates(folder):
    """A certificate for localhost, and its authority among all that this machine trusts."""
    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=bench")
    openssl("req", *key, "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=localhost")
    (folder / "extensions").write_text("subjectAltName=DNS:localhost\nbasicConstraints=CA:FALSE\n")
    signed = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "extensions", "-days", "2"]
    openssl("x509", "-req", "-in", "server.csr", "-out", "server.pem", *signed)
    system = ssl.get_default_verify_paths().cafile or "/etc/ssl/certs/ca-certificates.crt"
    trusted = folder / "trusted.pem"
    trusted.write_text((folder / "ca.pem").read_text() + (Path(system).read_text() if Path(system).exists() else ""))
    return str(trusted)
