"""The rows of HTTP: what nearcast costs beside nginx, HAProxy, Varnish and Apache Traffic Server, and what it is held to."""
from __future__ import annotations

import argparse
import itertools
import resource

from comparison.edge import nearcast
from comparison.edge.peers import PEERS
from comparison.edge.rows import ALL, Gate, Line, Row, rows
from comparison.edge.setup import Surroundings, make_certificate
from comparison.edge.tools import Tools
from comparison.edge.work import KIB, Scale
from comparison.fleet import Fleet, Target, Unfit, find, note
from comparison.measure import Cell, ratio, rounds

PACKAGES = {"cc": "gcc libc6-dev", "/usr/include/openssl/ssl.h": "libssl-dev", "openssl": "openssl", "wrk": "wrk", "h2load": "nghttp2-client"}
# What a smoke run does without.
LOADS = ("wrk", "h2load")
COLUMNS = ("nearcast", *ALL)
TABLE = (f"| HTTP | {' | '.join(COLUMNS)} | nearcast/best | at most | |\n"
         f"| --- | {'--- | ' * len(COLUMNS)}--- | --- | --- |")
SENDFILE = "nginx-sendfile"
# A tenth is noise.
NOISE = 1.1


def here() -> list[str]:
    """The peers that are installed."""
    return [name for name, (program, *_) in PEERS.items() if find(program)]


def absent() -> list[str]:
    """The packages of those that are not."""
    return sorted({package for program, package, *_ in PEERS.values() if not find(program)})


def versions() -> list[tuple[str, str]]:
    """Programs and how they are asked for their version."""
    return [*dict.fromkeys((program, flag) for program, _, flag, _ in PEERS.values() if find(program)),
            ("wrk", "-v"), ("h2load", "--version")]


def started(around: Surroundings, tools: Tools, needed: set[str], options: argparse.Namespace) -> list[Target]:
    """All servers that the rows of a setup need, ready to answer."""
    fleet, targets = around.fleet, []
    if not options.peers_only:
        targets.append(nearcast.start(around, options.nearcast))
    for name in here():
        if name in needed:
            targets.append(PEERS[name][3](around))
    for target in targets:
        fleet.ready(target, lambda: tools.load(target, "--path", f"/{KIB}/ready", "--size", KIB, "--requests", 1))
    return targets


def measured(tools: Tools, row: Row, targets: list[Target], options: argparse.Namespace) -> list[Cell]:
    """Verify and fill, one round that is thrown away, then those that count."""
    scale = Scale(options.seconds, options.smoke)
    cells = [Cell(target) for target in targets if target.name in ("nearcast", *row.peers)]
    for cell in cells:
        cell.attempt(lambda: row.work.prepare(tools, cell.target, scale))
        if not row.once and not options.smoke:
            cell.attempt(lambda: row.work.round(tools, cell.target, Scale(1)))
    rounds(cells, 1 if row.once or options.smoke else options.rounds,
           lambda target: row.work.round(tools, target, scale))
    return cells


def verdict(gate: Gate | None, line: Line, ours: Cell | None, rivals: list[Cell]) -> tuple[str, str, str]:
    """Ours by the best peer's, what it may be, and whether it is."""
    able = [cell for cell in rivals if cell.fit() and (gate is None or not gate.peer or cell.target.name == gate.peer)]
    best = min(able, key=line.of, default=None)
    shown = f"{ratio(ours, best, line.of)} ({best.target.name})" if best else "-"
    if best and best.target.name == SENDFILE:
        # It alone copies nothing, so the best of those that do is worth a look, too.
        other = min((cell for cell in able if cell is not best), key=line.of, default=None)
        shown += f", {ratio(ours, other, line.of)} ({other.target.name})" if other else ""
    if gate is None:
        return shown, "-", ""
    if not gate.of_peer:
        allowed = f"{gate.limit:g}"
        value = line.of(ours) if ours and ours.fit() else None
    else:
        allowed = f"{gate.limit:g} × {gate.peer or 'best'}"
        value = line.of(ours) / line.of(best) if ours and ours.fit() and best else None
    if value is None:
        return shown, allowed, "not measured"
    if value <= gate.limit:
        return shown, allowed, "ok"
    return shown, allowed, "ok within noise" if gate.of_peer and value <= gate.limit * NOISE else "MISSED"


def text(line: Line, cells: list[Cell]) -> str:
    """The line as Markdown."""
    by_name = {cell.target.name: cell for cell in cells}
    ours = by_name.get("nearcast")
    figures = [line.text(by_name[name]) if name in by_name else "-" for name in COLUMNS]
    ends = verdict(line.gate, line, ours, [cell for cell in cells if cell is not ours])
    return f"| {line.label} | {' | '.join(figures)} | {' | '.join(ends)} |"


def remark(row: Row, cells: list[Cell]) -> None:
    """What the figures of CPU time rest on."""
    cells = [cell for cell in cells if cell.fit()]
    if not cells or "rate" not in cells[0].samples[0]:
        return
    told = "; ".join(cell.load() for cell in cells)
    ours = next((cell for cell in cells if cell.target.name == "nearcast"), None)
    best = min((cell for cell in cells if cell is not ours), key=Cell.both_ends, default=None)
    if ours and best:
        told += f"; with the load's CPU {ratio(ours, best, Cell.both_ends)} of {best.target.name}"
    chosen = {cell.target.protocol for cell in cells}
    if len(chosen) > 1:
        told += "; not the same cipher: " + ", ".join(f"{cell.target.name} {cell.target.protocol}" for cell in cells)
    elif chosen != {""}:
        told += f"; {chosen.pop()}"
    note(f"{row.lines[0].label}: {told}")


def smoke(row: Row, cells: list[Cell]) -> None:
    """Nobody may have answered wrongly."""
    for cell in cells:
        if cell.fault:
            raise Unfit(f"{row.lines[0].label}: {cell.target.name}: {cell.fault}")
    for line in row.lines:
        if line.figure == "origin" and line.gate and not line.gate.of_peer:
            for cell in cells:
                if cell.target.name == "nearcast" and cell.median("origin") > line.gate.limit:
                    raise Unfit(f"{line.label}: {cell.median('origin'):.0f}")
    print(f"{row.lines[0].label}: {', '.join(cell.target.name for cell in cells)}: answers right", flush=True)


def run(fleet: Fleet, options: argparse.Namespace) -> None:
    """One setup after the other: start its servers, fill its lines of the table, end them."""
    chosen = [row for row in rows() if any(options.only in line.label for line in row.lines)]
    if not chosen:
        return
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if absent():
        missing = f"not installed, so left out: {', '.join(absent())}"
        note(missing)
        print(missing, flush=True)
    tools = Tools(fleet)
    certificate = make_certificate(fleet.base)
    if not options.smoke:
        print(f"\n{TABLE}", flush=True)
    for setup, group in itertools.groupby(chosen, key=lambda row: row.setup):
        part = list(group)
        targets = started(Surroundings(fleet, setup, tools.origin, *certificate), tools,
                          {name for row in part for name in row.peers}, options)
        for row in part:
            cells = measured(tools, row, targets, options)
            if options.smoke:
                smoke(row, cells)
                continue
            for line in row.lines:
                print(text(line, cells), flush=True)
            remark(row, cells)
        for target in targets:
            fleet.stop(target)
