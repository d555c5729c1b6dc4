#!/usr/bin/env python3
"""CPU time per request of nearcast beside nginx (HTTP cache hits), and gdnsd, NSD and Knot (DNS).

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
from peers import many_zones, start_echo, start_gdnsd, start_knot, start_nsd  # noqa: E402
from rows import Row, dns_rows, http_rows  # noqa: E402
from servers import (BODIES, HOST, NOTES, SENDING, Fleet, Origin, Target, Unfit, can_sign,  # noqa: E402
                     cpu_ticks, find, note, origin_port, start_nearcast, start_nginx)
from wire import dns_answer, dns_query  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = {"http": {"nginx": "nginx-light", "wrk": "wrk"},
            "dns": {"gdnsd": "gdnsd", "nsd": "nsd", "knotd": "knot knot-module-geoip",
                    "dnsperf": "dnsperf", "zstd": "zstd", "cc": "gcc libc6-dev"}}
KINDS = ("http", "dns")
# What a smoke run does without.
LOADS = ("wrk", "dnsperf")
LOSS_ALLOWED = 0.001
TICK_US = 1e6 / os.sysconf("SC_CLK_TCK")
Said = list[frozenset[str]]


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


def check_dns(port: int, row: Row, whole: bool) -> Said:
    """The first questions, or all, must be answered rightly; returns what was said."""
    said = []
    for question in row.questions if whole else row.questions[:256]:
        reply = dns_answer(port, question)
        found = reply.addresses
        right = found <= question.answers and len(found) == (1 if question.answers else 0)
        if reply.rcode != question.rcode or not right:
            raise Unfit(f"{question.name}: rcode {reply.rcode}, {sorted(found)}")
        if reply.signed != question.dnssec:
            raise Unfit(f"{question.name}: {'signed' if reply.signed else 'not signed'}")
        said.append(found)
    if row.steered and len(set(said)) < 2:
        raise Unfit("every subnet was sent to the same PoP")
    return said


def check(target: Target, row: Row, whole: bool = False) -> Said:
    """What the row asks for, asked once outside of the load."""
    if target.floor:
        return []
    if row.kind == "http":
        check_http(target.http, row.path)
        return []
    return check_dns(target.dns, row, whole)


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
                      "-T1", "-c16", "-q100", "-t1", "-l", str(seconds)], seconds)
    sent, count = int(first(r"Queries sent:\s+(\d+)", out)), int(
        first(r"Queries completed:\s+(\d+)", out))
    wanted = "NXDOMAIN" if row.questions[0].rcode and not target.floor else "NOERROR"
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
    steering = [cell for cell in cells if cell.said]
    if not row.steered or len(steering) < 2:
        return
    ours = steering[0]
    for cell in steering[1:]:
        same = sum(one == two for one, two in zip(ours.said, cell.said))
        note(f"{row.label}: {ours.target.name} and {cell.target.name} named the same PoP for "
             f"{same} of {len(ours.said)} subnets")


def measured(fleet: Fleet, row: Row, targets: list[Target], options: argparse.Namespace
             ) -> list[Cell]:
    """Interleaved rounds, so that a slow spell of the machine falls on every target."""
    cells = [Cell(target) for target in targets]
    for cell in cells:
        cell.attempt(lambda: warm(fleet, cell, row))
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
    versions = [("nginx", "-v")] if "http" in options.rows else []
    if "dns" in options.rows:
        versions += [("gdnsd", "--version"), ("nsd", "-v"), ("knotd", "-V")]
    tools = [f"{tool} {version([find(tool), flag])}" for tool, flag in versions]
    if not options.peers_only:
        tools.insert(0, f"nearcast {version([str(options.nearcast), '--version'])}")
    model = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    return (f"{date.today()}, {', '.join(tools)}, Linux {platform.release()}, "
            f"{model[1] if model else platform.machine()}; {options.rounds} rounds of "
            f"{options.seconds} s, one core per server, one for the load\n\n"
            "CPU microseconds per request, median (min..max):")


def ratio(ours: Cell | None, other: Cell | None, of: Callable[[Cell], float]) -> str:
    """Between two figures only."""
    if ours is None or other is None or not ours.samples or not other.samples or ours.fault or other.fault:
        return "-"
    return f"{of(ours) / of(other):.2f}"


def http_line(row: Row, cells: list[Cell]) -> str:
    """The row as Markdown, against the cheapest peer."""
    ours = next((cell for cell in cells if cell.target.name == "nearcast"), None)
    peer = min((cell for cell in cells if cell is not ours),
               key=lambda cell: (bool(cell.fault), not cell.fault and cell.both_ends()))
    return (f"| {row.label} | {ours.text() if ours else '-'} | {peer.target.name} {peer.text()} "
            f"| {ratio(ours, peer, Cell.median)} | {ratio(ours, peer, Cell.both_ends)} |")


def dns_line(row: Row, cells: list[Cell]) -> str:
    """The row as Markdown, with the ratios to the cheapest peer and to the floor."""
    by_name = {cell.target.name: cell for cell in cells}
    ours, floor = by_name.get("nearcast"), by_name.get("echo")
    rivals = [cell for cell in cells if cell is not ours and cell is not floor and not cell.fault]
    best = min(rivals, key=Cell.median, default=None)
    texts = [by_name[name].text() if name in by_name else "-" for name in DNS_COLUMNS]
    against = f"{ratio(ours, best, Cell.median)} ({best.target.name})" if best else "-"
    return f"| {row.label} | {' | '.join(texts)} | {against} | {ratio(ours, floor, Cell.median)} |"


DNS_COLUMNS = ("echo", "nearcast", "gdnsd", "nsd", "knot")
HTTP_TABLE = ("| row | nearcast | peer | nearcast/peer | the same with the load's CPU |\n"
              "| --- | --- | --- | --- | --- |")
DNS_TABLE = (f"| DNS over UDP | {' | '.join(DNS_COLUMNS)} | nearcast/best peer | nearcast/echo |\n"
             "| --- | --- | --- | --- | --- | --- | --- | --- |")


def pair(fleet: Fleet, one: Target, two: Target, options: argparse.Namespace) -> None:
    """What a query costs with two workers, by what it costs with one: nothing may be fought over."""
    rows = [row for row in dns_rows() if row.kind == "dns" and options.only in row.label]
    for row in rows[:2]:
        cells = measured(fleet, row, [one, two], options)
        note(f"{row.label}: {' beside '.join(f'{cell.target.name} {cell.text()}' for cell in cells)}"
             f" µs a query; two workers cost {ratio(cells[1], cells[0], Cell.median)} of one"
             " (the second shares the load's core)")


def servers(fleet: Fleet, options: argparse.Namespace, origin: int) -> list[Target]:
    """Starts all that the rows need."""
    targets = []
    if not options.peers_only:
        targets.append(start_nearcast(fleet, options.nearcast, origin, many_zones))
    if "http" in options.rows:
        targets += [start_nginx(fleet, origin, name) for name in SENDING]
    if "dns" in options.rows:
        targets += [start_gdnsd(fleet, options.geo), start_nsd(fleet), start_knot(fleet, options.geo),
                    start_echo(fleet)]
    return targets


def takes_part(target: Target, row: Row) -> bool:
    """Whether the row is one of the target's."""
    return bool(target.http) if row.kind == "http" else target.name in row.targets


def smoke(rows: list[Row], targets: list[Target]) -> None:
    """No figures: each question of each row is answered rightly by everyone."""
    for row in rows:
        taking = [target for target in targets if takes_part(target, row) and not target.floor]
        for target in taking:
            try:
                check(target, row, whole=True)
            except (Unfit, OSError) as fault:
                raise Unfit(f"{row.label}: {target.name}: {fault}") from fault
        print(f"{row.label}: {', '.join(target.name for target in taking)}: "
              f"{len(row.questions)} answers right", flush=True)


def run(fleet: Fleet, options: argparse.Namespace) -> None:
    """Start the servers, fill the tables line by line, then say what they rest on."""
    signs = not options.peers_only and can_sign(options.nearcast)
    rows = [row for row in http_rows() + dns_rows() if options.only in row.label
            and (row.kind in options.rows or (row.kind == "signed" and signs and "dns" in options.rows))]
    origin = origin_port()
    targets = servers(fleet, options, origin)
    for target in targets:
        for row in [row for row in rows if takes_part(target, row)][:1]:
            fleet.ready(target, lambda: check(target, row))
    if options.smoke:
        return smoke(rows, targets)
    print(heading(options), flush=True)
    for kinds, table, line in (({"http"}, HTTP_TABLE, http_line), ({"dns", "signed"}, DNS_TABLE, dns_line)):
        part = [row for row in rows if row.kind in kinds]
        if part:
            print(f"\n{table}", flush=True)
        for row in part:
            taking = [target for target in targets if takes_part(target, row)]
            cells = measured(fleet, row, taking, options)
            print(line(row, cells), flush=True)
            note(f"{row.label}: " + "; ".join(cell.load() for cell in cells if cell.samples))
    if options.pair:
        two = start_nearcast(fleet, options.nearcast, origin, many_zones, workers=2)
        pair(fleet, targets[0], fleet.ready(two, lambda: check(two, dns_rows()[0])), options)
    print("\n" + "\n".join(f"- {text}" for text in NOTES))


# --- command line ---------------------------------------------------------

def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=int, default=4, help="length of one round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", default="http,dns", type=lambda text: text.split(","))
    parser.add_argument("--nearcast", type=Path, default=ROOT / "target/release/nearcast")
    parser.add_argument("--only", default="", help="rows with this in their name")
    parser.add_argument("--smoke", action="store_true", help="no figures: is every answer right?")
    parser.add_argument("--pair", action="store_true", help="also two workers beside one")
    parser.add_argument("--geo", type=Path, default=ROOT / "config/geo/nearcast-city.mmdb.zst",
                        help="GeoIP2 City database that gdnsd steers by (.mmdb or .mmdb.zst)")
    parser.add_argument("--cores", default="0,1", help="the server's core, the load's core")
    parser.add_argument("--peers-only", action="store_true", help="leave nearcast out")
    options = parser.parse_args()
    if options.seconds < 1 or options.rounds < 1 or not set(options.rows) <= set(KINDS):
        parser.error("rounds and seconds are at least 1; rows are http and dns")
    if options.peers_only and options.pair:
        parser.error("--pair is about nearcast")
    return options


# Exit statuses: argparse's own for what was asked wrongly, and one that a caller may take for "not here".
UNUSABLE = 2
MISSING_TOOLS = 3


def preconditions(options: argparse.Namespace) -> tuple[int, int]:
    """Say all that is missing at once, as commands to paste."""
    tools = {"taskset": "util-linux", **{tool: package for kind in options.rows
                                         for tool, package in PACKAGES[kind].items()}}
    if options.smoke:
        tools = {tool: package for tool, package in tools.items() if tool not in LOADS}
    wanted = sorted({package for tool, package in tools.items() if not find(tool)})
    server, load = (int(core) for core in options.cores.split(","))
    faults, status = [], MISSING_TOOLS
    if wanted:
        faults.append("missing tools; install them with\n  apt-get install -y "
                      "--no-install-recommends " + " ".join(wanted))
    if not options.peers_only and not options.nearcast.is_file():
        faults.append(f"no {options.nearcast}; build it with\n  cargo build --release")
        status = UNUSABLE
    if options.smoke:
        server = load = min(os.sched_getaffinity(0))
    elif server == load or not {server, load} <= os.sched_getaffinity(0):
        faults.append(f"cores {options.cores}: two different ones that may be used are needed")
        status = UNUSABLE
    if faults:
        print("\n".join(faults), file=sys.stderr)
        sys.exit(status)
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
