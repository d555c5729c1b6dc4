"""What is asked for in the rows of DNS, and who takes part in each."""
from __future__ import annotations

import random
from dataclasses import dataclass

from comparison.dns.wire import Question
from comparison.dns.zones import HOST, POPS, SIGNED, ZONE

ADDRESSES = frozenset(address for address, _ in POPS.values())
ZONES, NAMES = 1000, 100
EVERYONE = ("echo", "nearcast", "gdnsd", "nsd", "knot")
STEERING = ("echo", "nearcast", "gdnsd", "knot")
SIGNING = ("echo", "nearcast", "knot")


@dataclass(frozen=True)
class Row:
    """One line of the table, what is asked for it, and of whom."""
    label: str
    kind: str
    questions: tuple[Question, ...]
    targets: tuple[str, ...]
    # Whether answers must differ from subnet to subnet.
    steered: bool = False


def subnets(count: int) -> list[bytes]:
    """Public-looking /24s in a fixed order: one subnet for all would only test a cache."""
    source = random.Random(7)
    firsts = [n for n in range(1, 224) if n not in (10, 100, 127, 169, 172, 192, 198, 203)]
    return [bytes((source.choice(firsts), source.randrange(256), source.randrange(256)))
            for _ in range(count)]


def many_address(zone: int, name: int) -> str:
    """The one address of a name of the thousand zones."""
    return f"198.51.{zone % 256}.{name}"


def many_names(count: int) -> tuple[Question, ...]:
    """Names of all the zones in an order without one."""
    source = random.Random(11)
    picks = [(source.randrange(ZONES), source.randrange(NAMES)) for _ in range(count)]
    return tuple(Question(f"n{name}.z{zone}.bench.test", frozenset({many_address(zone, name)}))
                 for zone, name in picks)


def dns_rows() -> list[Row]:
    """The table in its order."""
    def static(zone: str, dnssec: bool) -> tuple[Question, ...]:
        return tuple(Question(f"{pop}.{zone}", frozenset({address}), dnssec=dnssec)
                     for pop, (address, _) in POPS.items())

    def steered(name: str, dnssec: bool) -> tuple[Question, ...]:
        return tuple(Question(name, ADDRESSES, subnet=subnet, dnssec=dnssec)
                     for subnet in subnets(4096))

    absent = tuple(Question(f"no{n}.{ZONE}", frozenset(), rcode=3) for n in range(1000))
    return [
        Row("static", "dns", questions=static(ZONE, False), targets=EVERYONE),
        Row("steered with ECS", "dns", questions=steered(HOST, False), targets=STEERING,
            steered=True),
        Row("steered by source", "dns", questions=(Question(HOST, ADDRESSES),), targets=STEERING),
        Row("NXDOMAIN", "dns", questions=absent, targets=EVERYONE),
        Row("1,000 zones", "dns", questions=many_names(20_000), targets=EVERYONE),
        Row("signed static", "signed", questions=static(SIGNED, True), targets=SIGNING),
        Row("signed steered with ECS", "signed", questions=steered(f"www.{SIGNED}", True),
            targets=SIGNING, steered=True),
    ]

