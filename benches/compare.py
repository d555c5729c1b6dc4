#!/usr/bin/env python3
"""CPU time per request of nearcast beside nginx (HTTP cache hits) and gdnsd (DNS).

CPU time per answered request is compared, not requests per second: it does not
depend on how fast the load generator is, and it is what a node pays for. See
benches/README.md for what the figures do and do not say.
"""
from __future__ import annotations

import argparse
import hashlib
import http.client
import os
import platform
import random
import re
import resource
import signal
import statistics
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

sys.dont_write_bytecode = True
from servers import (BODIES, HOST, NOTES, POPS, SENDING, ZONE, Fleet, Origin, Target,  # noqa: E402
                     Unfit, cpu_ticks, find, note, origin_port, start_gdnsd, start_nearcast,
                     start_nginx)
from wire import Question, dns_answer, dns_query  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
ADDRESSES = frozenset(address for address, _ in POPS.values())
PACKAGES = {"nginx": "nginx-light", "gdnsd": "gdnsd", "wrk": "wrk", "dnsperf": "dnsperf",
            "taskset": "util-linux", "zstd": "zstd"}
KINDS = {"http", "dns"}
LOSS_ALLOWED = 0.001
TICK_US = 1e6 / os.sysconf("SC_CLK_TCK")
Said = list[frozenset[str]]


@dataclass(frozen=True)
class Row:
    """One line of the table; `path` is set for HTTP, `questions` for DNS."""
    label: str
    kind: str
    path: str = ""
    questions: tuple[Question, ...] = ()


@dataclass(frozen=True)
class Sample:
    """What one burst of load cost the server, and what it cost the load generator."""
    cpu_us: float
    load_us: float
    rate: float
    busy: float


@dataclass
class Cell:
    """One target's part of a row: a fault takes the place of the figure for good."""
    target: Target
    samples: list[Sample] = field(default_factory=list)
    said: Said = field(default_factory=list)
    fault: str = ""

    def attempt(self, work: Callable[[], None]) -> None:
        """A faulty target is left out of the rounds that remain."""
        if self.fault:
            return
        try:
            work()
        except (Unfit, OSError, http.client.HTTPException, subprocess.SubprocessError) as fault:
            self.fault = " ".join(str(fault).split()) or type(fault).__name__

    def median(self) -> float:
        return statistics.median(sample.cpu_us for sample in self.samples)

    def both_ends(self) -> float:
        """With the load's share: over loopback a server can leave its sending to the reader."""
        return statistics.median(sample.cpu_us + sample.load_us for sample in self.samples)

    def text(self) -> str:
        if self.fault:
            return f"no figure: {self.fault}"
        costs = [sample.cpu_us for sample in self.samples]
        return f"{self.median():.2f} ({min(costs):.2f}..{max(costs):.2f})"

    def load(self) -> str:
        """What was reached: a server far from busy pays for more wake-ups per request."""
        rate = statistics.median(sample.rate for sample in self.samples)
        busy = statistics.median(sample.busy for sample in self.samples)
        other = statistics.median(sample.load_us for sample in self.samples)
        return (f"{self.target.name} {self.text()} µs, {rate:,.0f}/s at {busy:.0%} of its core, "
                f"{other:.2f} µs in the load generator")


# --- rows -----------------------------------------------------------------

def subnets(count: int) -> list[bytes]:
    """Public-looking /24s in a fixed order: one subnet for all would only test a cache."""
    source = random.Random(7)
    firsts = [n for n in range(1, 224) if n not in (10, 100, 127, 169, 172, 192, 198, 203)]
    return [bytes((source.choice(firsts), source.randrange(256), source.randrange(256)))
            for _ in range(count)]


def all_rows() -> list[Row]:
    """The table in its order."""
    static = tuple(Question(f"{pop}.{ZONE}", frozenset({address}))
                   for pop, (address, _) in POPS.items())
    steered = tuple(Question(HOST, ADDRESSES, subnet=subnet) for subnet in subnets(4096))
    absent = tuple(Question(f"no{n}.{ZONE}", frozenset(), rcode=3) for n in range(1000))
    return [Row("h1 1 KiB hit", "http", "/1k"), Row("h1 64 KiB hit", "http", "/64k"),
            Row("h1 1 MiB hit", "http", "/1m"),
            Row("dns static A", "dns", questions=static),
            Row("dns steered with ECS", "dns", questions=steered),
            Row("dns NXDOMAIN", "dns", questions=absent)]


# --- checks ---------------------------------------------------------------

def check_http(port: int, path: str) -> None:
    """One request whose body must be the origin's, byte for byte."""
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        client.request("GET", path, headers={"Host": HOST})
        answer = client.getresponse()
        body = answer.read()
    finally:
        client.close()
    if answer.status != 200:
        raise Unfit(f"status {answer.status}")
    if hashlib.sha256(body).digest() != hashlib.sha256(BODIES[path]).digest():
        raise Unfit("wrong body")


def check_dns(port: int, row: Row) -> Said:
    """The first questions must be answered rightly; returns what was said."""
    said = []
    for question in row.questions[:256]:
        rcode, found = dns_answer(port, question)
        right = found <= question.answers and len(found) == (1 if question.answers else 0)
        if rcode != question.rcode or not right:
            raise Unfit(f"{question.name}: rcode {rcode}, {sorted(found)}")
        said.append(found)
    if row.questions[0].answers == ADDRESSES and len(set(said)) < 2:
        raise Unfit("every subnet was sent to the same PoP")
    return said


def check(target: Target, row: Row) -> Said:
    """What the row asks for, asked once outside of the load."""
    if row.kind == "http":
        check_http(target.http, row.path)
        return []
    return check_dns(target.dns, row)


# --- load -----------------------------------------------------------------

def first(pattern: str, text: str) -> str:
    """The first match's group, or "0": a tool leaves out the counts that are zero."""
    match = re.search(pattern, text)
    return match[1] if match else "0"


def wrk_count(fleet: Fleet, target: Target, row: Row, seconds: int) -> int:
    """Requests that wrk saw answered, or why they must not be counted."""
    out = fleet.load(["wrk", "-t1", "-c64", f"-d{seconds}s", "-H", f"Host: {HOST}",
                      f"http://127.0.0.1:{target.http}{row.path}"], seconds)
    count = int(first(r"(\d+) requests in", out))
    refused = int(first(r"Non-2xx or 3xx responses: (\d+)", out))
    broken = sum(map(int, re.findall(r"(?:connect|read|write|timeout) (\d+)", out)))
    if refused or broken > count * LOSS_ALLOWED or not count:
        raise Unfit(f"{refused} non-2xx, {broken} socket errors of {count}")
    return count


def dnsperf_count(fleet: Fleet, target: Target, row: Row, seconds: int) -> int:
    """Queries that dnsperf saw answered with the right rcode, or why not to count."""
    data = fleet.base / f"{row.label}.queries"
    if not data.exists():
        queries = [dns_query(question) for question in row.questions]
        data.write_bytes(b"".join(struct.pack("!H", len(q)) + q for q in queries))
    out = fleet.load(["dnsperf", "-B", "-d", str(data), "-s", "127.0.0.1", "-p", str(target.dns),
                      "-T1", "-c8", "-q100", "-t1", "-l", str(seconds)], seconds)
    sent, count = int(first(r"Queries sent:\s+(\d+)", out)), int(
        first(r"Queries completed:\s+(\d+)", out))
    wanted = "NXDOMAIN" if row.questions[0].rcode else "NOERROR"
    right = int(first(rf"Response codes:.*?{wanted} (\d+)", out))
    if right != count or sent - count > sent * LOSS_ALLOWED or not count:
        raise Unfit(f"{sent} sent, {count} answered, {right} {wanted}")
    return count


def load_seconds() -> float:
    """CPU time of the load generators so far; the servers are not waited for until the end."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def burst(fleet: Fleet, target: Target, row: Row, seconds: int) -> Sample:
    """One round of load against one target."""
    count = wrk_count if row.kind == "http" else dnsperf_count
    ticks, load, began = cpu_ticks(target.process.pid), load_seconds(), time.monotonic()
    answered = count(fleet, target, row, seconds)
    took = time.monotonic() - began
    spent = (cpu_ticks(target.process.pid) - ticks) * TICK_US
    return Sample(spent / answered, (load_seconds() - load) * 1e6 / answered,
                  answered / took, spent / took / 1e6)


def warm(fleet: Fleet, cell: Cell, row: Row) -> None:
    """Fill, verify, and run one short burst that is thrown away."""
    check(cell.target, row)
    cell.said = check(cell.target, row)
    burst(fleet, cell.target, row, 1)


def agreement(cells: list[Cell], row: Row) -> None:
    """Steering on differing data is not a fault, but the reader must know of it."""
    if len(cells) == 2 and row.questions[0].answers == ADDRESSES and all(c.said for c in cells):
        same = sum(one == two for one, two in zip(cells[0].said, cells[1].said))
        note(f"{row.label}: both named the same PoP for {same} of {len(cells[0].said)} subnets")


def measured(fleet: Fleet, row: Row, targets: list[Target], options: argparse.Namespace
             ) -> list[Cell]:
    """Interleaved rounds, so that a slow spell of the machine falls on every target."""
    cells = [Cell(target) for target in targets]
    for cell in cells:
        cell.attempt(lambda: warm(fleet, cell, row))
    if row.kind == "dns":
        agreement(cells, row)
    for _ in range(options.rounds):
        for cell in cells:
            asked = Origin.asked[row.path]
            cell.attempt(lambda: cell.samples.append(
                burst(fleet, cell.target, row, options.seconds)))
            if Origin.asked[row.path] != asked:
                cell.fault = "the origin was asked: not only hits"
    return cells


# --- table ----------------------------------------------------------------

def version(command: list[str]) -> str:
    """The first version number that a tool prints about itself, on either stream."""
    out = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                         timeout=10).stdout
    return first(r"(\d+\.\d+[\w.\-]*)", out)


def heading(options: argparse.Namespace) -> str:
    """Everything without which the figures could not be placed later."""
    tools = [f"nginx {version([find('nginx'), '-v'])}",
             f"gdnsd {version([find('gdnsd'), '--version'])}"]
    if not options.peers_only:
        tools.insert(0, f"nearcast {version([str(options.nearcast), '--version'])}")
    model = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    return (f"{date.today()}, {', '.join(tools)}, Linux {platform.release()}, "
            f"{model[1] if model else platform.machine()}; {options.rounds} rounds of "
            f"{options.seconds} s, one core per server, one for the load\n\n"
            "CPU microseconds per request, median (min..max):\n\n"
            "| row | nearcast | peer | nearcast/peer | the same with the load's CPU |\n"
            "| --- | --- | --- | --- | --- |")


def line(row: Row, cells: list[Cell]) -> str:
    """The row as Markdown, against the cheapest peer; a ratio only between two figures."""
    ours = next((cell for cell in cells if cell.target.name == "nearcast"), None)
    peer = min((cell for cell in cells if cell is not ours),
               key=lambda cell: (bool(cell.fault), not cell.fault and cell.both_ends()))
    ratio = "- | -"
    if ours and not ours.fault and not peer.fault:
        ratio = (f"{ours.median() / peer.median():.2f} "
                 f"| {ours.both_ends() / peer.both_ends():.2f}")
    return (f"| {row.label} | {ours.text() if ours else '-'} "
            f"| {peer.target.name} {peer.text()} | {ratio} |")


def run(fleet: Fleet, options: argparse.Namespace) -> None:
    """Start the servers, fill the table line by line, then say what it rests on."""
    rows = [row for row in all_rows() if row.kind in options.rows]
    origin = origin_port()
    ours = [] if options.peers_only else [start_nearcast(fleet, options.nearcast, origin)]
    targets = {"http": list(ours), "dns": list(ours)}
    if "http" in options.rows:
        targets["http"] += [start_nginx(fleet, origin, name) for name in SENDING]
    if "dns" in options.rows:
        targets["dns"].append(start_gdnsd(fleet, options.geo))
    for row in {row.kind: row for row in reversed(rows)}.values():
        for target in targets[row.kind]:
            fleet.ready(target, lambda: check(target, row))
    print(heading(options), flush=True)
    for row in rows:
        cells = measured(fleet, row, targets[row.kind], options)
        print(line(row, cells), flush=True)
        note(f"{row.label}: " + "; ".join(cell.load() for cell in cells if cell.samples))
    print("\n" + "\n".join(f"- {text}" for text in NOTES))


# --- command line ---------------------------------------------------------

def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=int, default=4, help="length of one round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", default="http,dns", type=lambda text: text.split(","))
    parser.add_argument("--nearcast", type=Path, default=ROOT / "target/release/nearcast")
    parser.add_argument("--geo", type=Path, default=ROOT / "config/geo/nearcast-city.mmdb.zst",
                        help="GeoIP2 City database that gdnsd steers by (.mmdb or .mmdb.zst)")
    parser.add_argument("--cores", default="0,1", help="the server's core, the load's core")
    parser.add_argument("--peers-only", action="store_true", help="leave nearcast out")
    options = parser.parse_args()
    if options.seconds < 1 or options.rounds < 1 or not set(options.rows) <= KINDS:
        parser.error("rounds and seconds are at least 1; rows are http and dns")
    return options


def preconditions(options: argparse.Namespace) -> tuple[int, int]:
    """Say all that is missing at once, as commands to paste."""
    wanted = sorted({package for tool, package in PACKAGES.items() if not find(tool)})
    server, load = (int(core) for core in options.cores.split(","))
    faults = []
    if wanted:
        faults.append("missing tools; install them with\n  apt-get install -y "
                      "--no-install-recommends " + " ".join(wanted))
    if not options.peers_only and not options.nearcast.is_file():
        faults.append(f"no {options.nearcast}; build it with\n  cargo build --release")
    if server == load or not {server, load} <= os.sched_getaffinity(0):
        faults.append(f"cores {options.cores}: two different ones that may be used are needed")
    if faults:
        print("\n".join(faults), file=sys.stderr)
        sys.exit(2)
    return server, load


def main() -> int:
    options = arguments()
    fleet = Fleet(preconditions(options))
    for sign in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(sign, lambda *_: sys.exit(130))
    try:
        run(fleet, options)
    except Unfit as fault:
        print(f"compare.py: {fault}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        fleet.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
