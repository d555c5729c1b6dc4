"""The rows of DNS: CPU time a query beside gdnsd, NSD, Knot, and the floor beneath all."""
from __future__ import annotations

import argparse
import struct

from comparison.dns.nearcast import can_sign, start_nearcast
from comparison.dns.peers import many_zones, start_echo, start_gdnsd, start_knot, start_nsd
from comparison.dns.rows import Row, dns_rows
from comparison.dns.wire import dns_answer, dns_query
from comparison.fleet import Fleet, Target, Unfit, note
from comparison.measure import LOSS_ALLOWED, Cell, Sample, burst, first, ratio, rounds

PACKAGES = {"gdnsd": "gdnsd", "nsd": "nsd", "knotd": "knot knot-module-geoip", "dnsperf": "dnsperf",
            "zstd": "zstd", "cc": "gcc libc6-dev"}
# What a smoke run does without.
LOADS = ("dnsperf",)
VERSIONS = (("gdnsd", "--version"), ("nsd", "-v"), ("knotd", "-V"))
COLUMNS = ("echo", "nearcast", "gdnsd", "nsd", "knot")
TABLE = (f"| DNS over UDP | {' | '.join(COLUMNS)} | nearcast/best peer | nearcast/echo |\n"
         "| --- | --- | --- | --- | --- | --- | --- | --- |")
Said = list[frozenset[str]]


def check(target: Target, row: Row, whole: bool = False) -> Said:
    """The first questions, or all, must be answered rightly; returns what was said."""
    if target.floor:
        return []
    said = []
    for question in row.questions if whole else row.questions[:256]:
        reply = dns_answer(target.dns, question)
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


def dnsperf(fleet: Fleet, target: Target, row: Row, seconds: int) -> tuple[int, Sample]:
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
    return count, {}


def measured(fleet: Fleet, row: Row, targets: list[Target], options: argparse.Namespace) -> list[Cell]:
    """Verify, warm up, then the rounds."""
    cells = [Cell(target) for target in targets]
    said: dict[str, Said] = {}

    def warm(target: Target) -> None:
        said[target.name] = check(target, row)
        burst(target, lambda: dnsperf(fleet, target, row, 1))

    for cell in cells:
        cell.attempt(lambda: warm(cell.target))
    agreement(said, row)
    rounds(cells, options.rounds,
           lambda target: burst(target, lambda: dnsperf(fleet, target, row, options.seconds)))
    return cells


def agreement(said: dict[str, Said], row: Row) -> None:
    """Steering on differing data is not a fault, but the reader must know of it."""
    steering = [(name, answers) for name, answers in said.items() if answers]
    if not row.steered or len(steering) < 2:
        return
    ours, answers = steering[0]
    for name, others in steering[1:]:
        same = sum(one == two for one, two in zip(answers, others))
        note(f"{row.label}: {ours} and {name} named the same PoP for {same} of {len(answers)} subnets")


def line(cells: list[Cell], label: str) -> str:
    """The row as Markdown, with the ratios to the cheapest peer and to the floor."""
    by_name = {cell.target.name: cell for cell in cells}
    ours, floor = by_name.get("nearcast"), by_name.get("echo")
    rivals = [cell for cell in cells if cell is not ours and cell is not floor and cell.fit()]
    best = min(rivals, key=Cell.median, default=None)
    texts = [by_name[name].text() if name in by_name else "-" for name in COLUMNS]
    against = f"{ratio(ours, best, Cell.median)} ({best.target.name})" if best else "-"
    return f"| {label} | {' | '.join(texts)} | {against} | {ratio(ours, floor, Cell.median)} |"


def pair(fleet: Fleet, one: Target, floor: Target, options: argparse.Namespace) -> None:
    """What a query costs with two workers, by what it costs with one: nothing may be fought over. The second worker
    shares the load's core; what that costs shows in the echo, whose workers share nothing."""
    floors, two = start_echo(fleet, workers=2), start_nearcast(fleet, options.nearcast, many_zones, workers=2)
    fleet.ready(two, lambda: check(two, dns_rows()[0]))
    rows = [row for row in dns_rows() if row.kind == "dns" and options.only in row.label]
    for row in rows[:2]:
        cells = measured(fleet, row, [one, two, floor, floors], options)
        note(f"{row.label}: {' beside '.join(f'{cell.target.name} {cell.text()}' for cell in cells)} µs a query;"
             f" two workers cost {ratio(cells[1], cells[0], Cell.median)} of one,"
             f" two of the echo {ratio(cells[3], cells[2], Cell.median)}")


def smoke(rows: list[Row], targets: list[Target]) -> None:
    """No figures: each question of each row is answered rightly by everyone."""
    for row in rows:
        taking = [target for target in targets if target.name in row.targets and not target.floor]
        for target in taking:
            try:
                check(target, row, whole=True)
            except (Unfit, OSError) as fault:
                raise Unfit(f"{row.label}: {target.name}: {fault}") from fault
        print(f"{row.label}: {', '.join(target.name for target in taking)}: "
              f"{len(row.questions)} answers right", flush=True)


def run(fleet: Fleet, options: argparse.Namespace) -> None:
    """Start the servers and fill the table line by line."""
    signs = not options.peers_only and can_sign(options.nearcast)
    rows = [row for row in dns_rows() if options.only in row.label and (signs or row.kind == "dns")]
    if not rows:
        return
    targets = [] if options.peers_only else [start_nearcast(fleet, options.nearcast, many_zones)]
    targets += [start_gdnsd(fleet, options.geo), start_nsd(fleet), start_knot(fleet, options.geo),
                start_echo(fleet)]
    for target in targets:
        for row in [row for row in rows if target.name in row.targets][:1]:
            fleet.ready(target, lambda: check(target, row))
    if options.smoke:
        return smoke(rows, targets)
    print(f"\n{TABLE}", flush=True)
    for row in rows:
        cells = measured(fleet, row, [target for target in targets if target.name in row.targets], options)
        print(line(cells, row.label), flush=True)
        note(f"{row.label}: " + "; ".join(cell.load() for cell in cells if cell.samples))
    if options.pair:
        pair(fleet, targets[0], targets[-1], options)
    for target in targets:
        fleet.stop(target)
