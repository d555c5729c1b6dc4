"""What each kind of HTTP row does with a server: verify and warm it up, then one round of load."""
from __future__ import annotations

import itertools
import shutil
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from comparison.edge.setup import HOST, Setup
from comparison.edge.tools import Tools
from comparison.fleet import Target, Unfit, resident_kib
from comparison.measure import Sample, burst

KIB, MIB = 1 << 10, 1 << 20
NUMBERS = itertools.count()
ON_DISK_SECONDS = 20.0


@dataclass(frozen=True)
class Scale:
    """How long a round is, and whether it is only to show that all answers are right."""
    seconds: int
    smoke: bool = False


def fill(tools: Tools, target: Target, path: str, size: int, tls: bool) -> None:
    """The object is in the cache from here on, and is right."""
    until_cached(tools, lambda: tools.load(target, "--path", path, "--size", size, "--requests", 8, "--connections", 2, tls=tls))


def until_cached(tools: Tools, ask: Callable[[], object]) -> None:
    """Asked for again, it does not reach the origin."""
    deadline = time.monotonic() + 10
    while True:
        before = tools.asked()
        ask()
        if tools.asked() == before:
            return
        if time.monotonic() > deadline:
            raise Unfit("not cached: the origin is asked each time")
        time.sleep(0.1)


def only_hits(tools: Tools, before: int) -> None:
    """What the origin has seen since proves that nothing else was measured."""
    if tools.asked() != before:
        raise Unfit("the origin was asked: not only hits")


@dataclass(frozen=True)
class Hits:
    """One object over kept connections."""
    size: int
    tls: bool = False

    @property
    def path(self) -> str:
        return f"/{self.size}/hit"

    def prepare(self, tools: Tools, target: Target, scale: Scale) -> None:
        fill(tools, target, self.path, self.size, self.tls)

    def round(self, tools: Tools, target: Target, scale: Scale) -> Sample:
        before = tools.asked()
        if scale.smoke:
            sample = burst(target, lambda: (tools.load(target, "--path", self.path, "--size", self.size, "--requests", 200,
                                                       "--connections", 8, tls=self.tls)["answered"], {}))
        else:
            sample = burst(target, lambda: (tools.wrk(target, self.path, self.tls, scale.seconds), {}))
        only_hits(tools, before)
        return sample


@dataclass(frozen=True)
class Handshakes:
    """A hit over a new TLS connection each time; nothing is resumed."""
    size: int = KIB

    @property
    def path(self) -> str:
        return f"/{self.size}/hit"

    def prepare(self, tools: Tools, target: Target, scale: Scale) -> None:
        fill(tools, target, self.path, self.size, True)

    def round(self, tools: Tools, target: Target, scale: Scale) -> Sample:
        before, amount = tools.asked(), ["--requests", 20] if scale.smoke else []
        sample = burst(target, lambda: (tools.load(
            target, "--path", self.path, "--size", self.size, "--fresh", "--connections", 16, *amount, tls=True,
            seconds=0 if scale.smoke else scale.seconds)["answered"], {}))
        only_hits(tools, before)
        return sample


@dataclass(frozen=True)
class Streams:
    """HTTP/2 over TLS, 10 connections with 32 streams each."""
    size: int = KIB

    @property
    def path(self) -> str:
        return f"/{self.size}/hit"

    def prepare(self, tools: Tools, target: Target, scale: Scale) -> None:
        fill(tools, target, self.path, self.size, True)
        speaks_h2(target)
        # HAProxy has other keys for HTTP/2.
        if shutil.which("h2load"):
            until_cached(tools, lambda: tools.h2load(target, self.path, self.size, "-n320"))

    def round(self, tools: Tools, target: Target, scale: Scale) -> Sample:
        if scale.smoke and not shutil.which("h2load"):
            return {}
        before, amount, seconds = tools.asked(), [f"-D{scale.seconds}"], scale.seconds
        if scale.smoke:
            amount, seconds = ["-n640"], 0
        sample = burst(target, lambda: (tools.h2load(target, self.path, self.size, *amount, seconds=seconds), {}))
        only_hits(tools, before)
        return sample


def speaks_h2(target: Target) -> None:
    """Over TLS, by ALPN."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    with socket.create_connection(("127.0.0.1", target.https), timeout=5) as plain, \
            context.wrap_socket(plain, server_hostname=HOST) as client:
        if client.selected_alpn_protocol() != "h2":
            raise Unfit("no HTTP/2")


@dataclass(frozen=True)
class Misses:
    """Each URL once, 64 connections."""
    setup: Setup
    size: int = 4 * KIB

    def prepare(self, tools: Tools, target: Target, scale: Scale) -> None:
        # So many that memory is full and whatever it gives up has begun to be written.
        count = 500 if scale.smoke else max(20_000, 3 * self.setup.memory_mib * MIB // self.size)
        unique = f"/{self.size}/fill{next(NUMBERS)}-"
        before = tools.asked()
        tools.load(target, "--unique", unique, "--size", self.size, "--requests", count, "--connections", 64)
        if tools.asked() - before != count:
            raise Unfit(f"{tools.asked() - before} origin requests for {count} misses")
        fill(tools, target, f"{unique}{count - 1}", self.size, False)
        target.counts["stored"] += count
        self.settle(target, scale)

    def round(self, tools: Tools, target: Target, scale: Scale) -> Sample:
        before, amount = tools.asked(), ["--requests", 200] if scale.smoke else []

        def work() -> tuple[int, Sample]:
            said = tools.load(target, "--unique", f"/{self.size}/u{next(NUMBERS)}-", "--size", self.size, "--connections", 64,
                              *amount, seconds=0 if scale.smoke else scale.seconds)
            target.counts["stored"] += said["answered"]
            # What is written later is part of the cost, and has to come.
            self.settle(target, scale)
            return said["answered"], {}

        sample = burst(target, work)
        asked = tools.asked() - before
        if asked < sample["answered"]:
            raise Unfit(f"{asked} origin requests for {sample['answered']:.0f} answers: not only misses")
        return sample

    def settle(self, target: Target, scale: Scale) -> None:
        """Where all is to be kept, all but what memory may still have is on disk, as far as there is room."""
        if self.setup.keeps_all and not scale.smoke:
            stored = target.counts["stored"] * self.size - self.setup.memory_mib * MIB
            on_disk(target, min(stored, self.setup.disk_mib * MIB * 8 // 10))


def on_disk(target: Target, expected: int) -> None:
    """Whether nearly so many bytes have come into the cache's files, perhaps a little later."""
    deadline = time.monotonic() + ON_DISK_SECONDS
    while (found := allocated(target.folder / "cache")) < 0.9 * expected:
        if time.monotonic() > deadline:
            raise Unfit(f"{found >> 20} MiB on disk, not {expected >> 20}")
        time.sleep(0.2)


def allocated(place: Path) -> int:
    """Bytes that the file, or all below the folder, take up."""
    paths = [place] if place.is_file() else place.rglob("*")
    total = 0
    for path in paths:
        try:
            total += path.lstat().st_blocks * 512
        except OSError:
            continue
    return total


@dataclass(frozen=True)
class Zipf:
    """Many objects, some asked for often: each server gets the same requests in the same order, first to fill it, then in the rounds."""
    objects: int = 50_000
    size: int = 16 * KIB
    exponent: float = 0.9
    first: int = 200_000
    per_second: int = 15_000

    def ask(self, tools: Tools, target: Target, count: int, seed: int) -> int:
        said = tools.load(target, "--prefix", f"/{self.size}/z", "--size", self.size, "--objects", self.objects,
                          "--zipf", self.exponent, "--seed", seed, "--requests", count, "--connections", 64)
        return int(said["answered"])

    def prepare(self, tools: Tools, target: Target, scale: Scale) -> None:
        before = tools.asked()
        self.ask(tools, target, 1_000 if scale.smoke else self.first, 1)
        # Of all that follows, too: a cache that is filled more slowly asks more often later.
        target.counts["zipf"] = tools.asked() - before

    def round(self, tools: Tools, target: Target, scale: Scale) -> Sample:
        before = tools.asked()
        number = target.counts["rounds"] = target.counts["rounds"] + 1
        count = 500 if scale.smoke else self.per_second * scale.seconds
        sample = burst(target, lambda: (self.ask(tools, target, count, 1 + number), {}))
        target.counts["zipf"] += tools.asked() - before
        if tools.asked() - before >= count:
            raise Unfit("no hits at all")
        return sample | {"origin": float(target.counts["zipf"])}


@dataclass(frozen=True)
class Herd:
    """All at once for what is not there yet, and comes slowly."""
    clients: int = 500
    size: int = MIB
    takes_ms: int = 1000

    def prepare(self, tools: Tools, target: Target, scale: Scale) -> None:
        fill(tools, target, f"/{KIB}/hit", KIB, False)

    def round(self, tools: Tools, target: Target, scale: Scale) -> Sample:
        clients, takes_ms = (20, 200) if scale.smoke else (self.clients, self.takes_ms)
        path = f"/paced/{takes_ms}/{self.size}/herd{next(NUMBERS)}"
        before = tools.asked()

        def work() -> tuple[int, Sample]:
            said = tools.load(target, "--path", path, "--size", self.size, "--connections", clients, "--once")
            return said["answered"], {"first_byte_ms": said["first_byte_ms"], "last_ms": said["last_first_byte_ms"],
                                      "took_ms": said["seconds"] * 1e3}

        sample = burst(target, work)
        return sample | {"origin": float(tools.asked() - before)}


@dataclass(frozen=True)
class Idle:
    """Resident memory that each connection adds which has asked once and stays. Of a fresh server: one that had as many before has the room."""
    tls: bool = False
    connections: int = 4000

    def prepare(self, tools: Tools, target: Target, scale: Scale) -> None:
        fill(tools, target, f"/{KIB}/hit", KIB, self.tls)

    def round(self, tools: Tools, target: Target, scale: Scale) -> Sample:
        count = 50 if scale.smoke else self.connections
        before = resident_kib(target.process.pid)
        process = tools.hold(target, count, f"/{KIB}/hit", KIB, self.tls)
        try:
            # What a server does only when a connection has been quiet for a while is part of it.
            time.sleep(0.1 if scale.smoke else 3.0)
            after = resident_kib(target.process.pid)
        finally:
            process.communicate("", timeout=30)
        return {"kib": (after - before) / count}


Work = Hits | Handshakes | Streams | Misses | Zipf | Herd | Idle
