"""Starts functions as Lambda does and measures them: cold start, latency, processor time, memory.

    harness.py functions --binaries FOLDER [--rounds N] [--warm N] [--only NAME,…] [--against FOLDER]
    harness.py storms --storm FILE [--sizes N,…] [--days N]

Prints tables in Markdown; scripts/bench prepares what it needs and calls it. This process is the Runtime API's host and,
over TLS and with a certificate made for this run, an AWS that gives each action one answer after a constant time. What
AWS takes is no part of any result. One target after the other is started in each round, so that whatever else the
machine does meets all of them.
"""

import argparse
import json
import os
import platform
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from pathlib import Path

from servers import Aws, RuntimeApi

ROOT = Path(__file__).resolve().parent.parent
BENCH = ROOT / "target" / "bench"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    functions = commands.add_parser("functions")
    functions.add_argument("--binaries", type=Path, required=True, help="the folder with the functions' binaries")
    functions.add_argument("--rounds", type=int, default=25, help="cold starts of each target")
    functions.add_argument("--warm", type=int, default=25, help="warm events of each process")
    functions.add_argument("--only", type=lambda names: names.split(","), help="these targets alone")
    functions.add_argument("--against", type=Path, help="another folder with binaries, whose launch-logger is measured too")
    functions.set_defaults(run=measure_functions)
    storms = commands.add_parser("storms")
    storms.add_argument("--storm", type=Path, required=True, help="storm's binary")
    storms.add_argument("--sizes", default="100,1000,10000,100000", help="numbers of instances")
    storms.add_argument("--days", default="0.25", help="how long each lasts, in the lab")
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

    def missing(self):
        """A file that it needs and that is not there."""
        return next((file for file in (Path(self.command[0]), self.code) if not file.exists()), None)


def targets(binaries):
    """The peers do what launch-logger does; the other functions what they do most often."""
    launch = ("launch-logger", "launch")

    def function(name, event, **variables):
        return Target(name, [binaries / name], (name, event), **variables)

    return [
        Target("floor", [BENCH / "floor"], launch),
        function(*launch),
        Target("Go", [BENCH / "go"], launch),
        Target("Node", [shutil.which("node") or "node", BENCH / "node.cjs"], launch, BENCH / "node.cjs"),
        Target(
            "Python",
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


# --- Tables. -------------------------------------------------------------------------------------------


def measure_functions(arguments):
    known = targets(arguments.binaries)
    if arguments.against:
        known.append(Target("against", [arguments.against / "launch-logger"], ("launch-logger", "launch")))
    unknown = set(arguments.only or []) - {target.name for target in known}
    if unknown:
        sys.exit(f"there is no {', '.join(sorted(unknown))}")
    chosen = [target for target in known if not arguments.only or target.name in arguments.only]
    for target in chosen:
        if target.missing():
            print(f"left out: {target.name}, there is no {target.missing()}", file=sys.stderr)
    chosen = [target for target in chosen if not target.missing()]
    with tempfile.TemporaryDirectory() as folder:
        aws = Aws(Path(folder))
        for number in range(arguments.rounds):
            # Each one comes after another one each time.
            turn = number % len(chosen)
            for target in chosen[turn:] + chosen[:turn]:
                progress(f"round {number + 1} of {arguments.rounds}: {target.name}")
                target.processes.append(Process(target, arguments.warm, aws))
        progress("")
    for target in chosen:
        target.results = {name: [getattr(process, name) for process in target.processes] for name in COLUMNS}
        target.results["warm"] = [value for process in target.processes for value in process.warm]
    rows = [["", "binary MB", "zip MB", *(column for column, _, _ in COLUMNS.values()), "log B", "connections"]]
    for target in chosen:
        of = lambda name: statistics.median(getattr(process, name) for process in target.processes)
        spreads = [spread(target.results[name], unit, digits) for name, (_, unit, digits) in COLUMNS.items()]
        rows.append([target.name, *sizes(target.code), *spreads, f"{of('log'):.0f}", f"{of('connections'):.0f}"])
    table(rows)
    ratios(chosen)
    print(f"\n{arguments.rounds} cold starts and {arguments.rounds * arguments.warm} warm events of each. {machine()}")


# What is measured of each process: its column, the unit, and the digits that are shown.
COLUMNS = {
    "cold": ("cold ms", 1e6, 1),
    "cold_cpu": ("CPU ms", 1e6, 1),
    "warm": ("warm ms", 1e6, 2),
    "warm_cpu": ("warm CPU ms", 1e6, 2),
    "memory": ("peak MiB", 2**20, 1),
}


def ratios(chosen):
    """How many times as much as launch-logger those take that do the same, by their medians."""
    ours = next((target for target in chosen if target.name == "launch-logger"), None)
    others = [target for target in chosen if target is not ours and target.event[0] == "launch-logger"]
    if not ours or not others:
        return
    rows = [["times launch-logger", *(column.rpartition(" ")[0] for column, _, _ in COLUMNS.values())]]
    for target in others:
        median = lambda one, name: statistics.median(one.results[name])
        rows.append([target.name, *(f"{median(target, name) / median(ours, name):.2f}" for name in COLUMNS)])
    print()
    table(rows)


def spread(values, unit, digits):
    """The median, and the values that a tenth are below and above."""
    values = sorted(value / unit for value in values)
    low, high = values[len(values) // 10], values[-1 - len(values) // 10]
    return f"{statistics.median(values):.{digits}f} ({low:.{digits}f}–{high:.{digits}f})"


def sizes(code):
    """What is deployed, as it is and in a zip; nothing for a few lines of Python, whose SDK Lambda brings."""
    if code.stat().st_size < 10_000:
        return "-", "-"
    with tempfile.TemporaryFile() as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as zipped:
            zipped.write(code, "bootstrap")
        return f"{code.stat().st_size / 1e6:.2f}", f"{file.tell() / 1e6:.2f}"


def measure_storms(arguments):
    times = ["wall s", "CPU s", "CPU ms per instance"]
    rows = [["instances", *times, "calls", "calls per CPU s", "peak MiB", "KiB per instance"]]
    for size in map(int, arguments.sizes.split(",")):
        progress(f"a storm of {size} instances")
        options = ["--instances", str(size), "--seed", "7", "--faults", "heavy", "--days", arguments.days]
        with tempfile.TemporaryFile("w+") as report:
            began = time.perf_counter()
            process = subprocess.Popen([arguments.storm, *options], stdout=report)
            _, status, usage = os.wait4(process.pid, 0)
            wall = time.perf_counter() - began
            report.seek(0)
            text = report.read()
        if "instances in" not in text:
            sys.exit(f"the storm of {size} instances ended with {status}")
        if status:
            print(f"the storm of {size} instances: {text.splitlines()[-1]}", file=sys.stderr)
        # Wall time depends on what else runs; processor time hardly does.
        used = usage.ru_utime + usage.ru_stime
        instances = int(re.search(r"(\d+) instances in", text)[1])
        functions = re.search(r"^Functions .*\n((?:.+\n)*?)(?:Auto|\n)", text, re.M)[1]
        calls = sum(int(line.split()[-2]) for line in functions.splitlines())
        rows.append([
            f"{instances:,}",
            f"{wall:.1f}",
            f"{used:.1f}",
            f"{used * 1000 / instances:.1f}",
            f"{calls:,}",
            f"{calls / used:,.0f}",
            f"{usage.ru_maxrss / 1024:.0f}",
            f"{usage.ru_maxrss / instances:.1f}",
        ])
    progress("")
    table(rows)
    print(f"\nStorms of seed 7, heavy faults, {arguments.days} days. {machine()}")


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
