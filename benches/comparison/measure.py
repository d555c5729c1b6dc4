"""How figures are taken: bursts of load, interleaved between the servers, and what is made of them."""
from __future__ import annotations

import http.client
import os
import re
import resource
import statistics
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from comparison.fleet import Target, Unfit, cpu_ticks

LOSS_ALLOWED = 0.001
TICK_US = 1e6 / os.sysconf("SC_CLK_TCK")
# What one round gave, by name: "cpu" and "load" in microseconds a request, "rate" a second, "busy" as a share of a core, and whatever else
# a row is about.
Sample = dict[str, float]


@dataclass
class Cell:
    """One target's part of a row: a fault takes the place of the figure for good."""
    target: Target
    samples: list[Sample] = field(default_factory=list)
    fault: str = ""

    def attempt(self, work: Callable[[], object]) -> None:
        """A faulty target is left out of the rounds that remain."""
        if self.fault:
            return
        try:
            work()
        except (Unfit, OSError, http.client.HTTPException, subprocess.SubprocessError) as fault:
            self.fault = " ".join(str(fault).split()) or type(fault).__name__

    def fit(self) -> bool:
        """Whether it has figures."""
        return bool(self.samples) and not self.fault

    def median(self, figure: str = "cpu") -> float:
        return statistics.median(sample[figure] for sample in self.samples)

    def both_ends(self) -> float:
        """With the load's share: over loopback a server can leave its sending to the reader."""
        return statistics.median(sample["cpu"] + sample["load"] for sample in self.samples)

    def text(self, figure: str = "cpu", digits: int = 2) -> str:
        if self.fault or not self.samples:
            return f"no figure: {self.fault or 'not measured'}"
        values = [sample[figure] for sample in self.samples]
        middle = f"{self.median(figure):,.{digits}f}"
        if len(values) == 1:
            return middle
        return f"{middle} ({min(values):,.{digits}f}..{max(values):,.{digits}f})"

    def load(self) -> str:
        """What was reached: a server far from busy pays for more wake-ups per request."""
        return (f"{self.target.name} {self.text()} µs, {self.median('rate'):,.0f}/s at {self.median('busy'):.0%} of its core, "
                f"{self.median('load'):.2f} µs in the load generator")


def load_seconds() -> float:
    """CPU time of the load generators so far; the servers are not waited for until the end."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def burst(target: Target, work: Callable[[], tuple[int, Sample]]) -> Sample:
    """One round of load against one target: the work says how many requests were answered, and what else is to be kept."""
    ticks, load, began = cpu_ticks(target.process.pid), load_seconds(), time.monotonic()
    answered, more = work()
    took = time.monotonic() - began
    spent = (cpu_ticks(target.process.pid) - ticks) * TICK_US
    return {"cpu": spent / answered, "load": (load_seconds() - load) * 1e6 / answered,
            "rate": answered / took, "busy": spent / took / 1e6, "cpu_ms": spent / 1e3,
            "answered": answered} | more


def rounds(cells: list[Cell], count: int, take: Callable[[Target], Sample]) -> None:
    """Interleaved, so that a slow spell of the machine falls on every target."""
    for _ in range(count):
        for cell in cells:
            cell.attempt(lambda: cell.samples.append(take(cell.target)))


def ratio(ours: Cell | None, other: Cell | None, of: Callable[[Cell], float]) -> str:
    """Between two figures only."""
    if ours is None or other is None or not ours.fit() or not other.fit() or not of(other):
        return "-"
    return f"{of(ours) / of(other):.2f}"


def first(pattern: str, text: str) -> str:
    """The first match's group, or "0": a tool leaves out the counts that are zero."""
    match = re.search(pattern, text)
    return match[1] if match else "0"


def version(command: list[str]) -> str:
    """The first version number that a tool prints about itself, on either stream."""
    out = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                         timeout=10).stdout
    return first(r"(\d+\.\d+[\w.\-]*)", out)
