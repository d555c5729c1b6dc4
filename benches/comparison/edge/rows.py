"""The rows of HTTP: who takes part, what is shown of each, and what nearcast is held to."""
from __future__ import annotations

from dataclasses import dataclass

from comparison.edge.setup import Setup
from comparison.edge.work import KIB, MIB, Handshakes, Herd, Hits, Idle, Misses, Streams, Work, Zipf
from comparison.measure import Cell

ALL = ("nginx", "nginx-sendfile", "haproxy", "varnish", "ats")
WITH_TLS = ("nginx", "nginx-sendfile", "haproxy", "ats")
ONE_NGINX = ("nginx", "haproxy", "varnish", "ats")
ONE_NGINX_TLS = ("nginx", "haproxy", "ats")


@dataclass(frozen=True)
class Gate:
    """What a figure of ours may be at most: by itself, or as a share of the best peer's, or of that peer's."""
    limit: float
    of_peer: bool = True
    peer: str = ""


@dataclass(frozen=True)
class Line:
    """One figure of a row."""
    label: str
    figure: str = "cpu"
    gate: Gate | None = None
    digits: int = 2
    # Whether it adds up over the rounds: the last one says it.
    total: bool = False

    def of(self, cell: Cell) -> float:
        """What counts of a server that has figures."""
        return cell.samples[-1][self.figure] if self.total else cell.median(self.figure)

    def text(self, cell: Cell) -> str:
        """The same, to be read."""
        if cell.fit() and self.total:
            return f"{self.of(cell):,.{self.digits}f}"
        return cell.text(self.figure, self.digits)


@dataclass(frozen=True)
class Row:
    """One kind of load, the servers that it is for, and the lines that it fills."""
    setup: Setup
    peers: tuple[str, ...]
    work: Work
    lines: tuple[Line, ...]
    # Whether there can only be one round.
    once: bool = False


HITS = Setup("hits")
TO_DISK = Setup("miss-disk", memory_mib=16, disk_mib=2048, keeps_all=True)
SHIPPED = Setup("miss", memory_mib=64, disk_mib=2048)
TIERED = Setup("zipf", memory_mib=128, disk_mib=2048, keeps_all=True)
TIERED_SHIPPED = Setup("zipf-shipped", memory_mib=128, disk_mib=2048)
HERD = Setup("herd")
IDLE = Setup("idle")
IDLE_TLS = Setup("idle-tls")


def rows() -> list[Row]:
    """The table in its order; rows of one setup follow each other."""
    def hit(label: str, size: int, limit: float, tls: bool = False) -> Row:
        return Row(HITS, WITH_TLS if tls else ALL, Hits(size, tls), (Line(label, gate=Gate(limit)),))

    return [
        hit("h1 1 KiB hit", KIB, 0.85), hit("h1 64 KiB hit", 64 * KIB, 0.9), hit("h1 1 MiB hit", MIB, 1.0),
        hit("TLS 1 KiB hit", KIB, 0.75, True), hit("TLS 64 KiB hit", 64 * KIB, 0.75, True),
        hit("TLS 1 MiB hit", MIB, 0.7, True),
        Row(HITS, ONE_NGINX_TLS, Handshakes(), (Line("full TLS handshake", gate=Gate(0.65)),)),
        Row(HITS, ONE_NGINX_TLS, Streams(), (Line("h2 1 KiB hit", gate=Gate(0.8)),)),
        Row(TO_DISK, ("nginx", "varnish", "ats"), Misses(TO_DISK),
            (Line("miss 4 KiB, all to disk", gate=Gate(0.6)),)),
        Row(SHIPPED, ("haproxy",), Misses(SHIPPED), (Line("miss 4 KiB, as shipped", gate=Gate(1.0)),)),
        Row(TIERED, ("nginx", "varnish", "ats"), Zipf(), (
            Line("zipf", gate=Gate(0.85)),
            Line("zipf: origin requests", "origin", Gate(1.0, peer="nginx"), 0, total=True))),
        Row(TIERED_SHIPPED, (), Zipf(), (
            Line("zipf, as shipped"), Line("zipf, as shipped: origin requests", "origin", digits=0, total=True))),
        Row(HERD, ("nginx", "varnish", "ats"), Herd(), (
            Line("herd: origin requests", "origin", Gate(1, of_peer=False), 0),
            Line("herd: first byte, ms", "first_byte_ms", Gate(40, of_peer=False), 1),
            Line("herd: CPU, ms", "cpu_ms", Gate(1.0, peer="nginx"), 0))),
        Row(IDLE, ONE_NGINX, Idle(), (Line("idle connection, KiB", "kib", Gate(4, of_peer=False)),), once=True),
        Row(IDLE_TLS, ONE_NGINX_TLS, Idle(True),
            (Line("idle connection, TLS, KiB", "kib", Gate(12, of_peer=False)),), once=True),
    ]
