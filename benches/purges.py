#!/usr/bin/env python3
"""What a million purges cost a node: memory, time to purge, time to start again.

Starts one node, purges a million URLs in batches of 10,000, and starts it again on the same state. The whole process's
resident memory is read before and after. Exit status 1 when the purges take 150 MiB or more, before or after the restart.
"""
from __future__ import annotations

import argparse
import http.client
import json
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TOKEN = "correct-horse"
BATCH = 10_000
LIMIT_MIB = 150


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def config(folder: Path, admin: int) -> str:
    """A node that serves one site and is asked for nothing."""
    return f"""
        listen = {{ http = [], https = [], dns = [], admin = "127.0.0.1:{admin}" }}
        state = {{ path = "{folder}/state" }}
        admin = {{ token = "{TOKEN}" }}
        cache = {{ memory = "64 MiB" }}
        pop = [{{ name = "a", addresses = ["192.0.2.1"], probe = false }}]
        site = [{{ domains = ["www.test"], origin = "http://127.0.0.1:9" }}]
        """


class Node:
    """A running node and its admin API."""

    def __init__(self, binary: Path, folder: Path) -> None:
        self.admin = free_port()
        file = folder / "nearcast.toml"
        file.write_text(config(folder, self.admin))
        began = time.monotonic()
        self.process = subprocess.Popen([binary, "run", "--config", file], stderr=subprocess.DEVNULL)
        while not self.serves():
            if self.process.poll() is not None or time.monotonic() - began > 60:
                raise SystemExit("the node does not start")
            time.sleep(0.005)
        self.seconds_to_start = time.monotonic() - began

    def serves(self) -> bool:
        try:
            return self.ask("GET", "/health")[0] == 200
        except OSError:
            return False

    def ask(self, method: str, path: str, body: str = "") -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.admin, timeout=60)
        connection.request(method, path, body, {"authorization": f"Bearer {TOKEN}"})
        answer = connection.getresponse()
        return answer.status, answer.read()

    def resident_mib(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
        return int(line.split()[1]) / 1024

    def records(self) -> int:
        return int(json.loads(self.ask("GET", "/v1/status")[1])["purge_records"])

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def purge(node: Node, kind: str, count: int) -> float:
    """Seconds for `count` entries of that kind."""
    taken = 0.0
    for first in range(0, count, BATCH):
        entries = [f"http://www.test/{n}" if kind == "urls" else f"t{n}" for n in range(first, first + BATCH)]
        body = json.dumps({kind: entries})
        began = time.monotonic()
        status, answer = node.ask("POST", "/v1/purge", body)
        taken += time.monotonic() - began
        if status != 200:
            raise SystemExit(f"refused: {answer.decode()}")
    return taken


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", type=Path, default=ROOT / "target/release/nearcast")
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--kind", choices=["urls", "tags"], default="urls")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        node = Node(given.binary, folder)
        try:
            empty, fast = node.resident_mib(), node.seconds_to_start
            taken = purge(node, given.kind, given.count)
            full, records = node.resident_mib(), node.records()
        finally:
            node.kill()
        log_mib = (folder / "state/purge.log").stat().st_size / 2**20
        node = Node(given.binary, folder)
        try:
            again = node.resident_mib()
            if node.records() != records:
                raise SystemExit("records were lost")
        finally:
            node.kill()
    print(f"records in force             {records}")
    print(f"purged in                    {taken:.1f} s, {1e6 * taken / given.count:.1f} us an entry")
    print(f"memory for them              {full - empty:.0f} MiB, {again - empty:.0f} MiB after a restart")
    print(f"log                          {log_mib:.0f} MiB")
    print(f"start with none, with all    {fast:.2f} s, {node.seconds_to_start:.2f} s")
    return 0 if max(full, again) - empty < LIMIT_MIB else 1


if __name__ == "__main__":
    sys.exit(main())
