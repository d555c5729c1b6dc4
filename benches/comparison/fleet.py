"""The servers of a comparison: how they are started, metered and ended, whatever they serve."""
from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path

READY_SECONDS = 60.0
NOTES: list[str] = []


class Unfit(Exception):
    """A row, or the whole run, that must not end in a figure."""


@dataclass
class Target:
    """A running server; a port of 0 means that it does not serve that kind."""
    name: str
    process: subprocess.Popen[bytes]
    http: int = 0
    https: int = 0
    dns: int = 0
    # What only sends back what came: there is nothing to check.
    floor: bool = False
    # Its own files, what it has cached among them.
    folder: Path = Path()
    admin: int = 0
    # What was last negotiated with it: version and cipher.
    protocol: str = ""
    # What a row counts over all of its rounds.
    counts: Counter[str] = field(default_factory=Counter)


def find(tool: str) -> str:
    """The tool's path; servers live in sbin, which is not in every user's PATH."""
    return shutil.which(tool, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin") or ""


def note(text: str) -> None:
    """Keep a remark for below the table: it says what the figures rest on."""
    NOTES.append(text)


def free_port() -> int:
    """A port below the ephemeral range, so that no client socket takes it meanwhile."""
    while True:
        port = random.randrange(20000, 32000)
        try:
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                with socket.socket(socket.AF_INET, kind) as probe:
                    probe.bind(("127.0.0.1", port))
            return port
        except OSError:
            continue


class Fleet:
    """Owns the temporary directory and every server, so that one exit ends them all."""

    def __init__(self, cores: tuple[int, int], scratch: Path | None = None) -> None:
        self.server_core, self.load_core = cores
        self.base = Path(tempfile.mkdtemp(prefix="nearcast-bench-", dir=scratch))
        self.running: list[subprocess.Popen[bytes]] = []

    def folder(self, name: str) -> Path:
        path = self.base / name
        path.mkdir()
        return path

    def start(self, name: str, command: list[str], both: bool = False, core: int | None = None) -> subprocess.Popen[bytes]:
        """Each server leads its own process group: its workers are ended with it. `both` gives it the load's core, too."""
        cores = str(self.server_core if core is None else core)
        if both:
            cores = f"{self.server_core},{self.load_core}"
        with open(self.base / f"{name}.log", "wb") as log:
            process = subprocess.Popen(["taskset", "-c", cores, *command],
                                       stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                       start_new_session=True)
        self.running.append(process)
        return process

    def load(self, command: list[str], seconds: float) -> str:
        return subprocess.run(["taskset", "-c", str(self.load_core), *command], check=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              timeout=seconds + 20).stdout

    def ready(self, target: Target, check: Callable[[], object]) -> Target:
        """Poll until the check passes; a server that died or never came says why."""
        deadline, last = time.monotonic() + READY_SECONDS, ""
        while time.monotonic() < deadline and target.process.poll() is None:
            try:
                check()
                return target
            except (OSError, HTTPException, Unfit) as fault:
                last = str(fault)
                time.sleep(0.05)
        log = (self.base / f"{target.name}.log").read_text(errors="replace")
        raise Unfit(f"{target.name} did not become ready ({last}):\n{log[-2000:]}")

    def stop(self, target: Target) -> None:
        """End one that is no longer needed, and forget what it wrote."""
        for sign in (signal.SIGTERM, signal.SIGKILL):
            end_group(target.process, sign)
        self.running.remove(target.process)
        shutil.rmtree(self.base / target.name, ignore_errors=True)

    def close(self) -> None:
        for sign in (signal.SIGTERM, signal.SIGKILL):
            for process in self.running:
                end_group(process, sign)
        shutil.rmtree(self.base, ignore_errors=True)


def end_group(process: subprocess.Popen[bytes], sign: signal.Signals) -> None:
    """Signal a server's group and give it a moment to go."""
    try:
        os.killpg(process.pid, sign)
        process.wait(timeout=3)
    except (ProcessLookupError, subprocess.TimeoutExpired):
        pass


def family(root: int) -> tuple[set[int], dict[int, int]]:
    """A process with its descendants, and the user and system ticks of every process and those that it has reaped."""
    stats: dict[int, tuple[int, int]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        stats[int(entry.parent.name)] = int(fields[1]), sum(map(int, fields[11:15]))
    found, grown = {root}, True
    while grown:
        children = {pid for pid, (parent, _) in stats.items() if parent in found}
        grown = not children <= found
        found |= children
    return found, {pid: ticks for pid, (_, ticks) in stats.items()}


def cpu_ticks(root: int) -> int:
    """User and system ticks of a process, its descendants and those already reaped."""
    found, ticks = family(root)
    return sum(ticks[pid] for pid in found if pid in ticks)


def resident_kib(root: int) -> int:
    """Resident memory of a process and its descendants."""
    total = 0
    for pid in family(root)[0]:
        try:
            status = Path(f"/proc/{pid}/status").read_text()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))
    return total
