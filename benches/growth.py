#!/usr/bin/env python3
"""How what a hit costs grows: with the objects in the index, sites, purges, connections, and workers; memory an object; the time to start.

Nodes that differ in one thing only are up together, and their bursts are interleaved; the ratio is to the first of each part. All
answers are compared byte for byte by the load (comparison/edge/load.c), whose clients are on the other core. See benches/README.md.
"""
from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import resource
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

sys.dont_write_bytecode = True
from comparison.edge import nearcast  # noqa: E402
from comparison.edge.setup import Setup, Surroundings, make_certificate  # noqa: E402
from comparison.edge.tools import Tools  # noqa: E402
from comparison.fleet import Fleet, Target, Unfit, resident_kib  # noqa: E402
from comparison.measure import Cell, Sample, burst, rounds  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
KIB = 1 << 10
SMALL = 64
TABLE = "\n| {} | CPU µs a hit | by the first |\n| --- | --- | --- |"
PURGE_BATCH = 10_000
READY_SECONDS = 120.0
# One round of so many seconds against a node.
Ask = Callable[[Target, float], Sample]


class Growth:
    """The surroundings of all parts."""

    def __init__(self, fleet: Fleet, options: argparse.Namespace) -> None:
        self.fleet, self.options = fleet, options
        self.tools = Tools(fleet)
        self.certificate = make_certificate(fleet.base)

    def node(self, name: str, setup: Setup, sites: str = "") -> Target:
        """One that answers."""
        around = Surroundings(self.fleet, setup, self.tools.origin, *self.certificate)
        target = nearcast.start(around, self.options.nearcast, name, sites)
        return self.fleet.ready(target, lambda: ask_admin(target, "GET", "/health"))

    def compare(self, heading: str, cases: list[tuple[str, Target, Ask]]) -> None:
        """A table of the cases, each after one round that is thrown away; nothing but hits."""
        cells = [(label, Cell(target), ask) for label, target, ask in cases]
        for _, cell, ask in cells:
            cell.attempt(lambda: ask(cell.target, 1.0))
        for _ in range(self.options.rounds):
            for _, cell, ask in cells:
                before = self.tools.asked()
                rounds([cell], 1, lambda target: ask(target, self.options.seconds))
                if self.tools.asked() != before:
                    cell.fault = cell.fault or "the origin was asked: not only hits"
        for label, cell, _ in cells:
            if cell.fault and self.options.smoke:
                raise Unfit(f"{label} {heading}: {cell.fault}")
        if self.options.smoke:
            print(f"{heading}: answers right", flush=True)
            return
        print(TABLE.format(heading), flush=True)
        first = cells[0][1]
        for label, cell, _ in cells:
            share = f"{cell.median() / first.median():.2f}" if cell.fit() and first.fit() else "-"
            print(f"| {label} | {cell.text()} | {share} |", flush=True)

    def hits(self, *words: object) -> Ask:
        """Asks as those words say, over 64 kept connections."""
        return lambda target, seconds: burst(target, lambda: (
            self.tools.load(target, *words, "--connections", 64, seconds=seconds)["answered"], {}))

    def held(self, count: int, path: str, size: int) -> Ask:
        """Over so many connections, which are there before the round, and leave after it."""
        def ask(target: Target, seconds: float) -> Sample:
            clients = self.tools.connected(target, count, path, size, seconds)
            try:
                return burst(target, lambda: (clients.go(), {}))
            finally:
                clients.end()
        return ask

    def fill(self, target: Target, *words: object, requests: int) -> None:
        """So many requests, each for another object."""
        self.tools.load(target, *words, "--in-order", "--requests", requests, "--connections", 64, patience=1800)

    def end(self, *targets: Target) -> None:
        for target in targets:
            self.fleet.stop(target)


def ask_admin(target: Target, method: str, path: str, body: str = "") -> bytes:
    """The admin API's answer, which must be a good one."""
    connection = http.client.HTTPConnection("127.0.0.1", target.admin, timeout=60)
    try:
        connection.request(method, path, body, {"authorization": "Bearer correct-horse"})
        answer = connection.getresponse()
        said = answer.read()
    finally:
        connection.close()
    if answer.status != 200:
        raise Unfit(f"{method} {path}: {answer.status} {said[:200]!r}")
    return said


# --- the parts ------------------------------------------------------------

def index(growth: Growth) -> None:
    """Hits on any of so many objects, and what each takes in memory."""
    cases, told, targets = [], [], []
    for count in [count for count in (1_000, 100_000, 5_000_000) if count <= growth.options.objects_max]:
        # Room for all of them, whatever the store takes an object to be.
        room = max(256, count * 4 * KIB >> 20)
        target = growth.node(f"index-{count}", Setup("index", memory_mib=room))
        before = resident_kib(target.process.pid)
        words = ("--prefix", f"/{SMALL}/o", "--size", SMALL, "--objects", count)
        growth.fill(target, *words, requests=count)
        grown = (resident_kib(target.process.pid) - before) * KIB / count
        told.append(f"{count:,} objects of {SMALL} bytes: {grown:,.0f} bytes of memory each")
        cases.append((f"{count:,}", target, growth.hits(*words)))
        targets.append(target)
    growth.compare("objects in the index", cases)
    if not growth.options.smoke:
        print("\n" + "; ".join(told), flush=True)
    growth.end(*targets)


def sites(growth: Growth) -> None:
    """Hits on each site in turn."""
    cases, targets = [], []
    for count in (1, 10, 1_000):
        blocks = "".join(f'[[site]]\ndomains = ["site{n}.test"]\norigin = "http://127.0.0.1:{growth.tools.origin}"\n'
                         for n in range(count))
        target = growth.node(f"sites-{count}", Setup("sites"), blocks)
        words = ("--path", f"/{KIB}/hit", "--size", KIB, "--sites", count)
        growth.tools.load(target, *words, "--requests", count * 2)
        cases.append((f"{count:,}", target, growth.hits(*words)))
        targets.append(target)
    growth.compare("sites", cases)
    growth.end(*targets)


def purges(growth: Growth) -> None:
    """Of what is younger than all purges, as most is, and of what is older, for which the tables must be asked."""
    cases: list[tuple[str, Target, Ask]] = []
    targets, many = [], growth.options.purges
    words = ("--path", f"/{KIB}/hit", "--size", KIB)
    for label, count, before in (("0", 0, True), (f"{many:,} before it was fetched", many, False),
                                 (f"{many:,} since it was fetched", many, True)):
        target = growth.node(f"purges-{len(cases)}", Setup("purges"))
        if before:
            growth.tools.load(target, *words, "--requests", 8)
        for first in range(0, count, PURGE_BATCH):
            urls = [f"http://localhost/gone/{n}" for n in range(first, first + PURGE_BATCH)]
            ask_admin(target, "POST", "/v1/purge", json.dumps({"urls": urls}))
        growth.tools.load(target, *words, "--requests", 8)
        records = json.loads(ask_admin(target, "GET", "/v1/status"))["purge_records"]
        if int(records) != count:
            raise Unfit(f"{records} purge records, not {count}")
        cases.append((label, target, growth.hits(*words)))
        targets.append(target)
    growth.compare("purges in force", cases)
    growth.end(*targets)


def connections(growth: Growth) -> None:
    """All of them busy."""
    target = growth.node("connections", Setup("connections"))
    words = ("--path", f"/{KIB}/hit", "--size", KIB)
    growth.tools.load(target, *words, "--requests", 8)
    growth.compare("connections", [(f"{count:,}", target, growth.held(count, f"/{KIB}/hit", KIB))
                                   for count in (10, 1_000, 10_000)
                                   if count + 100 < resource.getrlimit(resource.RLIMIT_NOFILE)[0]])
    growth.end(target)


def workers(growth: Growth) -> None:
    """The second worker shares the load's core: only CPU time says something, not the rate."""
    cases, targets = [], []
    words = ("--path", f"/{KIB}/hit", "--size", KIB)
    for count in (1, 2):
        target = growth.node(f"workers-{count}", replace(Setup("workers"), workers=count))
        growth.tools.load(target, *words, "--requests", 8)
        cases.append((f"{count}", target, growth.hits(*words)))
        targets.append(target)
    growth.compare("workers", cases)
    growth.end(*targets)


def start(growth: Growth) -> None:
    """A million objects on disk, found again."""
    count = min(1_000_000, growth.options.objects_max)
    setup = Setup("start", memory_mib=256, disk_mib=8192, keeps_all=True)
    target = growth.node("start", setup)
    words = ("--prefix", f"/{KIB}/s", "--size", KIB, "--objects", count)
    growth.fill(target, *words, requests=count)
    began = time.monotonic()
    target.process.send_signal(signal.SIGTERM)
    target.process.wait(timeout=300)
    ended = time.monotonic() - began
    command = [str(growth.options.nearcast.resolve()), "run", "--config", str(target.folder / "nearcast.toml")]
    began = time.monotonic()
    again = replace(target, process=growth.fleet.start("start", command))
    while True:
        try:
            growth.tools.load(again, "--path", f"/{KIB}/other", "--size", KIB, "--requests", 1)
            break
        except Unfit as fault:
            if again.process.poll() is not None or time.monotonic() - began > READY_SECONDS:
                raise Unfit(f"no start: {fault}") from fault
            time.sleep(0.002)
    served = time.monotonic() - began
    found = recovered(growth.fleet.base / "start.log", began)
    known = time.monotonic() - began
    # All of them, one after the other: what is not found again is a request to the origin.
    before = growth.tools.asked()
    growth.fill(again, *words, requests=count)
    lost = growth.tools.asked() - before
    if lost and growth.options.smoke:
        raise Unfit(f"{lost} of {count} objects were not found again")
    print(f"\n{count:,} objects of 1 KiB on disk: a clean stop takes {ended:.2f} s; the next start answers after {served:.3f} s, and has found "
          f"{found:,} of them after {known:.2f} s; {resident_kib(again.process.pid) >> 10} MiB resident after all were asked for; "
          f"{lost:,} were asked of the origin again", flush=True)
    growth.end(again)


def recovered(log: Path, began: float) -> int:
    """How many entries the node says to have found on its disk."""
    while time.monotonic() - began < READY_SECONDS:
        told = re.search(r"the disk tier is ready.*?entries=(\d+)", re.sub(r"\x1b\[[0-9;]*m", "", log.read_text(errors="replace")))
        if told:
            return int(told[1])
        time.sleep(0.01)
    raise Unfit("the disk tier is never ready")


PARTS = {"index": index, "sites": sites, "purges": purges, "connections": connections, "workers": workers, "start": start}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--nearcast", type=Path, default=ROOT / "target/release/nearcast")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--only", choices=list(PARTS), nargs="+", default=list(PARTS))
    parser.add_argument("--objects-max", type=int, default=5_000_000, help="less where memory is scarce: five million take about 10 GiB")
    parser.add_argument("--cores", default="0,1", help="the node's core, the load's core")
    parser.add_argument("--scratch", type=Path, default=None, help="where files are; default: the system's folder for temporary ones")
    parser.add_argument("--purges", type=int, default=1_000_000)
    parser.add_argument("--smoke", action="store_true", help="a little of everything, and no figures: are all answers right?")
    options = parser.parse_args()
    if options.smoke:
        options.rounds, options.seconds, options.objects_max, options.purges = 1, 0.2, 1_000, PURGE_BATCH
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    server, load = (int(core) for core in options.cores.split(","))
    if options.smoke:
        server = load = min(os.sched_getaffinity(0))
    elif server == load:
        parser.error("two different cores are needed")
    if not options.nearcast.is_file() or not {server, load} <= os.sched_getaffinity(0):
        print(f"growth.py: needs {options.nearcast} and cores {server} and {load}", file=sys.stderr)
        return 2
    fleet = Fleet((server, load), options.scratch)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))
    try:
        growth = Growth(fleet, options)
        for name in options.only:
            PARTS[name](growth)
    except Unfit as fault:
        print(f"growth.py: {fault}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        fleet.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
