"""The origin and the clients of the HTTP rows: compiled for the occasion, started, and asked what they saw."""
from __future__ import annotations

import http.client
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from comparison.edge.setup import HOST
from comparison.fleet import Fleet, Target, Unfit, free_port
from comparison.measure import LOSS_ALLOWED, first

HERE = Path(__file__).parent
# What load.c prints.
Said = dict[str, Any]


class Tools:
    """What the rows use beside the servers."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        folder = fleet.folder("tools")
        compiled("origin", folder)
        compiled("load", folder, "-lssl", "-lcrypto", "-lm")
        self.load_program = str(folder / "load")
        self.origin = free_port()
        # On the load's core: it costs the servers nothing.
        process = fleet.start("origin", [str(folder / "origin"), str(self.origin)], core=fleet.load_core)
        fleet.ready(Target("origin", process, http=self.origin), self.asked)

    def asked(self) -> int:
        """How many requests the origin has seen."""
        client = http.client.HTTPConnection("127.0.0.1", self.origin, timeout=5)
        try:
            client.request("GET", "/asked")
            return int(client.getresponse().read())
        finally:
            client.close()

    def load(self, target: Target, *words: object, tls: bool = False, seconds: float = 0.0,
             patience: float = 200.0) -> Said:
        """Our own clients: all answers right, or no figure."""
        port = target.https if tls else target.http
        command = [self.load_program, "--port", port, *words, *(["--tls"] if tls else []),
                   *(["--seconds", seconds] if seconds else [])]
        said = right(json.loads(self.fleet.load([str(word) for word in command], seconds + patience)), tls)
        target.protocol = said["protocol"] or target.protocol
        return said

    def connected(self, target: Target, count: int, path: str, size: int, seconds: float) -> Connected:
        """That many clients that have connected and wait."""
        command = [self.load_program, "--port", target.http, "--wait", "--connections", count, "--path", path, "--size", size,
                   "--seconds", seconds]
        return Connected(subprocess.Popen(["taskset", "-c", str(self.fleet.load_core), *map(str, command)], text=True,
                                          stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True))

    def hold(self, target: Target, count: int, path: str, size: int, tls: bool) -> subprocess.Popen[str]:
        """That many clients, each of which has asked once and stays; they leave when its input is closed."""
        command = [self.load_program, "--port", target.https if tls else target.http, "--hold", "--connections", count,
                   "--path", path, "--size", size, *(["--tls"] if tls else [])]
        process = subprocess.Popen(["taskset", "-c", str(self.fleet.load_core), *map(str, command)], text=True,
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
        said = process.stdout.readline().strip() if process.stdout else ""
        if said != "held":
            process.kill()
            process.wait()
            raise Unfit(f"connections not held: {said or 'none'}")
        return process

    def wrk(self, target: Target, path: str, tls: bool, seconds: int, connections: int = 64) -> int:
        """Requests that wrk saw answered, or why they must not be counted."""
        url = f"https://{HOST}:{target.https}" if tls else f"http://{HOST}:{target.http}"
        out = self.fleet.load(["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-H", f"Host: {HOST}", f"{url}{path}"], seconds)
        count = int(first(r"(\d+) requests in", out))
        refused = int(first(r"Non-2xx or 3xx responses: (\d+)", out))
        broken = sum(map(int, re.findall(r"(?:connect|read|write|timeout) (\d+)", out)))
        if refused or broken > count * LOSS_ALLOWED or not count:
            raise Unfit(f"{refused} non-2xx, {broken} socket errors of {count}")
        return count

    def h2load(self, target: Target, path: str, size: int, *amount: str, seconds: int = 0) -> int:
        """Requests that h2load saw answered over HTTP/2, each with a whole body."""
        out = self.fleet.load(["h2load", "-c10", "-m32", "-t1", "--npn-list=h2", *amount,
                               f"--connect-to=127.0.0.1:{target.https}", f"https://{HOST}:{target.https}{path}"], seconds)
        count, right = int(first(r"(\d+) done", out)), int(first(r"status codes: (\d+) 2xx", out))
        bad = sum(map(int, re.findall(r"(\d+) (?:failed|errored|timeout)", out)))
        data = int(first(r"\((\d+)\) data", out))
        if "Application protocol: h2" not in out or not right:
            raise Unfit(f"no answers over HTTP/2: {out[-200:]}")
        # Of answers that the end has cut off, the status may have been seen.
        if bad > count * LOSS_ALLOWED or not count or right < count or data < count * size * (1 - LOSS_ALLOWED):
            raise Unfit(f"{count} answered, {right} 2xx, {bad} failed, {data} bytes")
        return count


class Connected:
    """Clients that wait for the word; what they cost until then, and when they leave, is nobody's."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.line("ready")

    def line(self, expected: str = "") -> str:
        said = self.process.stdout.readline().strip() if self.process.stdout else ""
        if not said or (expected and said != expected):
            self.end()
            raise Unfit(f"clients say: {said or 'nothing'}")
        return said

    def go(self) -> int:
        """Requests that were answered."""
        if self.process.stdin:
            self.process.stdin.write("\n")
            self.process.stdin.flush()
        return int(right(json.loads(self.line()), False)["answered"])

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


def right(said: Said, tls: bool) -> Said:
    """What our clients say, or why it does not count."""
    if said["failed"] > said["answered"] * LOSS_ALLOWED or not said["answered"]:
        raise Unfit(f"{said['failed']} failed of {said['answered'] + said['failed']}: {said['why']}")
    if said["resumed"]:
        raise Unfit(f"{said['resumed']} sessions resumed")
    if tls and not said["protocol"].startswith("TLSv1.3"):
        raise Unfit(f"{said['protocol']}, not TLS 1.3")
    return said


def compiled(name: str, folder: Path, *libraries: str) -> None:
    """By whatever compiler links Rust programs here."""
    out = subprocess.run([shutil.which("cc") or "cc", "-O2", "-o", str(folder / name), str(HERE / f"{name}.c"), *libraries],
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
    if out.returncode:
        raise Unfit(f"{name}.c is not compiled (libssl-dev?): {out.stdout[:500]}")
