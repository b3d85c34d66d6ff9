"""Starts functions as Lambda does and measures them: cold start, latency, processor time, memory.

    harness.py functions --binaries FOLDER [--rounds N] [--warm N] [--only NAME,…]
    harness.py storms --simulator FILE [--sizes N,…]

Prints tables in Markdown; scripts/bench prepares what it needs and calls it. This process is the Runtime API's host and,
over TLS and with a certificate made for this run, an AWS that gives each action one answer after a constant time. What
AWS takes is no part of any result. One target after the other is started in each round, so that whatever else the
machine does meets all of them.
"""

import argparse
import json
import os
import platform
import queue
import re
import shutil
import signal
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from pathlib import Path

import answers

ROOT = Path(__file__).resolve().parent.parent
BENCH = ROOT / "target" / "bench"

# Seconds: what AWS takes for each call. Long enough for the function to fall asleep, as it does in Lambda.
AWS_TAKES = 0.005

# Seconds until a function that gives no answer is given up.
PATIENCE = 30


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    functions = commands.add_parser("functions")
    functions.add_argument("--binaries", type=Path, required=True, help="the folder with the functions' binaries")
    functions.add_argument("--rounds", type=int, default=25, help="cold starts of each target")
    functions.add_argument("--warm", type=int, default=25, help="warm events of each process")
    functions.add_argument("--only", type=lambda names: names.split(","), help="these targets alone")
    functions.set_defaults(run=measure_functions)
    storms = commands.add_parser("storms")
    storms.add_argument("--simulator", type=Path, required=True, help="fleet-sim's binary")
    storms.add_argument("--sizes", default="100,1000,10000,100000", help="numbers of instances")
    storms.set_defaults(run=measure_storms)
    arguments = parser.parse_args()
    arguments.run(arguments)


# --- What is measured. ---------------------------------------------------------------------------------


class Target:
    def __init__(self, name, command, event, code=None, **variables):
        self.name, self.command, self.event, self.variables = name, [str(word) for word in command], event, variables
        # What is deployed: the binary, or the peer's own code.
        self.code = Path(code or self.command[0])
        self.processes = []

    def exists(self):
        return Path(self.command[0]).exists()


def targets(binaries):
    """The peers do what launch-logger does; the other functions what they do most often."""
    launch = ("launch-logger", "launch")

    def function(name, event, **variables):
        return Target(name, [binaries / name], (name, event), **variables)

    return [
        Target("Rust, does nothing", [BENCH / "floor"], launch),
        function(*launch),
        Target("Go, SDK v2", [BENCH / "go"], launch),
        Target("Node, SDK v3", [shutil.which("node") or "node", BENCH / "node.cjs"], launch, BENCH / "node.cjs"),
        Target(
            "Python, boto3",
            [BENCH / "venv/bin/python", "-m", "awslambdaric", "handler.handler"],
            launch,
            ROOT / "bench/python/handler.py",
            PYTHONPATH=str(ROOT / "bench/python"),
        ),
        function("terminate-drainer", "terminate"),
        function("ami-snapshotter", "terminate"),
        function("lt-ami-refresher", "scheduled", EC2_INSTANCE_NAME="web", LAUNCH_TEMPLATE_NAME="web"),
        function(
            "ecs-scheduler",
            "converge",
            RESOURCE_IDS="service/shop/web,service/shop/api",
            WORKING_HOURS="MON-SUN 00:00-24:00",
        ),
    ]


class Process:
    """One process from its start to its end: a cold start and warm events."""

    def __init__(self, target, warm, aws):
        api = RuntimeApi()
        aws.connections = 0
        environment = {
            "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{api.port}",
            "AWS_ENDPOINT_URL": aws.url,
            "AWS_ACCESS_KEY_ID": "AKIABENCH",
            "AWS_SECRET_ACCESS_KEY": "bench",
            "AWS_SESSION_TOKEN": "bench",
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_LAMBDA_FUNCTION_NAME": target.name,
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "128",
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_LOG_FORMAT": "JSON",
            # Each SDK has its own variable for the certificates that it trusts.
            **dict.fromkeys(["SSL_CERT_FILE", "AWS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"], aws.trusted),
            **target.variables,
        }
        api.hand_over(event(target, 0))
        began = time.perf_counter_ns()
        process = subprocess.Popen(
            target.command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        log = Log(process.stdout)
        try:
            _, answered = api.answer(target, log)
            self.cold = answered - began - aws.busy(began, answered)
            self.cold_cpu = cpu(process)
            logged = log.settled()
            self.warm = []
            for n in range(1, warm + 1):
                api.hand_over(event(target, n))
                taken, answered = api.answer(target, log)
                self.warm.append(answered - taken - aws.busy(taken, answered))
            self.warm_cpu = (cpu(process) - self.cold_cpu) / max(warm, 1)
            self.log = (log.settled() - logged) / max(warm, 1)
            self.memory = peak_memory(process)
            self.connections = aws.connections
        finally:
            process.kill()
            process.wait()
            api.close()


def event(target, n):
    """The target's sample, sent now, about another instance and another wait each time."""
    function, name = target.event
    text = (ROOT / "events" / function / f"{name}.json").read_text()
    text = re.sub(r'"time": ".*?"', time.strftime('"time": "%Y-%m-%dT%H:%M:%SZ"', time.gmtime()), text)
    text = re.sub(r"i-[0-9a-f]{17}", f"i-{n:017x}", text)
    text = re.sub(r'("LifecycleActionToken": "[0-9a-f-]{24})[0-9a-f]{12}', rf"\g<1>{n:012x}", text)
    return json.dumps(json.loads(text)).encode()


def cpu(process):
    """Processor time of all its threads, by the kernel's clock for a process."""
    return time.clock_gettime_ns((~process.pid) << 3 | 2)


def peak_memory(process):
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024


class Log:
    """Standard output and standard error, read as Lambda does; their bytes are counted."""

    def __init__(self, stream):
        self.bytes, self.last = 0, b""
        threading.Thread(target=self.read, args=[stream], daemon=True).start()

    def read(self, stream):
        while part := stream.read1(65536):
            self.bytes += len(part)
            self.last = (self.last + part)[-2000:]

    def settled(self):
        """How many there are, when no more come."""
        before = -1
        while before != self.bytes:
            before = self.bytes
            time.sleep(0.005)
        return before


# --- The two servers. ----------------------------------------------------------------------------------


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

    def __init__(self, wrap=None):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.wrap = wrap
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
            if self.wrap:
                stream = self.wrap(stream)
        except OSError:
            return
        self.converse(Connection(stream))
        stream.close()

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


class RuntimeApi(Server):
    def __init__(self):
        self.events, self.answers, self.taken = queue.Queue(), queue.Queue(), {}
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
        self.connections, self.calls, self.lock = 0, [], threading.Lock()
        super().__init__(lambda stream: context.wrap_socket(stream, server_side=True))
        self.url = f"https://localhost:{self.port}"

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
        """How long at least one call was under way here; those at the same time count once."""
        with self.lock:
            calls, self.calls = sorted(call for call in self.calls if since <= call[0] <= until), []
        total, end = 0, since
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


# --- Tables. -------------------------------------------------------------------------------------------


def measure_functions(arguments):
    chosen = [target for target in targets(arguments.binaries) if not arguments.only or target.name in arguments.only]
    for target in chosen:
        if not target.exists():
            print(f"left out: {target.name}, there is no {target.command[0]}", file=sys.stderr)
    chosen = [target for target in chosen if target.exists()]
    with tempfile.TemporaryDirectory() as folder:
        aws = Aws(Path(folder))
        for number in range(arguments.rounds):
            # Each one comes after another one each time.
            turn = number % len(chosen)
            for target in chosen[turn:] + chosen[:turn]:
                progress(f"round {number + 1} of {arguments.rounds}: {target.name}")
                target.processes.append(Process(target, arguments.warm, aws))
        progress("")
    rows = [["", "binary MB", "zip MB", "cold ms", "CPU ms", "warm ms", "warm CPU ms", "peak MiB", "log B", "connections"]]
    for target in chosen:
        of = lambda name: [getattr(process, name) for process in target.processes]
        warm = [value for values in of("warm") for value in values]
        binary, zipped = sizes(target.code)
        rows.append([
            target.name,
            f"{binary / 1e6:.2f}" if binary > 1e4 else "-",
            f"{zipped / 1e6:.2f}" if binary > 1e4 else "-",
            spread(of("cold"), 1e6, 1),
            spread(of("cold_cpu"), 1e6, 1),
            spread(warm, 1e6, 2),
            spread(of("warm_cpu"), 1e6, 2),
            spread(of("memory"), 2**20, 1),
            f"{statistics.median(of('log')):.0f}",
            f"{statistics.median(of('connections')):.0f}",
        ])
    table(rows)
    print(f"\n{arguments.rounds} cold starts and {arguments.rounds * arguments.warm} warm events of each. {machine()}")


def spread(values, unit, digits):
    """The median, and the values that a tenth are below and above."""
    values = sorted(value / unit for value in values)
    low, high = values[len(values) // 10], values[-1 - len(values) // 10]
    return f"{statistics.median(values):.{digits}f} ({low:.{digits}f}–{high:.{digits}f})"


def sizes(code):
    with tempfile.TemporaryFile() as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as zipped:
            zipped.write(code, "bootstrap")
        return code.stat().st_size, file.tell()


def measure_storms(arguments):
    rows = [["instances", "wall s", "ms per instance", "lab calls", "calls per s", "peak MiB", "KiB per instance"]]
    for size in map(int, arguments.sizes.split(",")):
        progress(f"a storm of {size} instances")
        storm = ["storm", "--instances", str(size), "--seed", "7", "--faults", "heavy", "--days", "1"]
        with tempfile.TemporaryFile("w+") as report:
            began = time.perf_counter()
            process = subprocess.Popen([arguments.simulator, *storm], stdout=report)
            _, status, usage = os.wait4(process.pid, 0)
            wall = time.perf_counter() - began
            report.seek(0)
            text = report.read()
        if status:
            sys.exit(f"the storm of {size} instances did not hold:\n{text}")
        instances = int(re.search(r"(\d+) instances in", text)[1])
        functions = re.search(r"^Functions .*\n((?:.+\n)*?)(?:Auto|\n)", text, re.M)[1]
        calls = sum(int(line.split()[-2]) for line in functions.splitlines())
        rows.append([
            f"{instances:,}",
            f"{wall:.1f}",
            f"{wall * 1000 / instances:.1f}",
            f"{calls:,}",
            f"{calls / wall:,.0f}",
            f"{usage.ru_maxrss / 1024:.0f}",
            f"{usage.ru_maxrss / instances:.1f}",
        ])
    progress("")
    table(rows)
    print(f"\n{machine()}")


def table(rows):
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    rows.insert(1, ["---"] + ["---:"] * (len(rows[0]) - 1))
    for row in rows:
        cells = [cell.rjust(width) if column else cell.ljust(width) for column, (cell, width) in enumerate(zip(row, widths))]
        print("| " + " | ".join(cells) + " |")


def machine():
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    load = os.getloadavg()[0]
    return f"{os.cpu_count()} processors, {model[1] if model else platform.machine()}; load {load:.1f}."


def progress(text):
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, lambda *_: sys.exit("interrupted"))
    main()
