"""Just enough DNS to ask a question and to read the A records of the answer."""
from __future__ import annotations

import socket
import struct
from dataclasses import dataclass

from comparison.fleet import Unfit


@dataclass(frozen=True)
class Question:
    """One DNS query and what counts as a right answer to it: `answers` are the addresses that may be in it."""
    name: str
    answers: frozenset[str]
    rcode: int = 0
    subnet: bytes | None = None
    dnssec: bool = False


@dataclass(frozen=True)
class Reply:
    """What was answered."""
    rcode: int
    addresses: frozenset[str]
    signed: bool


def dns_query(question: Question) -> bytes:
    """An A query with EDNS as resolvers send it; the same bytes go to every target."""
    labels = b"".join(bytes([len(part)]) + part.encode() for part in question.name.split("."))
    option = b"" if question.subnet is None else struct.pack(
        "!HHHBB", 8, 7, 1, 24, 0) + question.subnet
    flags = 0x8000 if question.dnssec else 0
    return (struct.pack("!6H", 0x4e43, 0, 1, 0, 0, 1) + labels + b"\0" + struct.pack("!HH", 1, 1)
            + b"\0" + struct.pack("!HHIH", 41, 1232, flags, len(option)) + option)


def past_name(message: bytes, at: int) -> int:
    """The offset after a possibly compressed name."""
    while message[at]:
        if message[at] >= 0xc0:
            return at + 2
        at += 1 + message[at]
    return at + 1


def dns_answer(port: int, question: Question) -> Reply:
    """Ask one question; the reply must be an authoritative whole one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(1)
        client.connect(("127.0.0.1", port))
        client.send(dns_query(question))
        message = client.recv(4096)
    if message[:2] != b"\x4e\x43" or not message[2] & 0x84 == 0x84 or message[2] & 2:
        raise Unfit(f"{question.name}: not an authoritative whole answer")
    at, found, signed = past_name(message, 12) + 4, set(), False
    for _ in range(struct.unpack_from("!H", message, 6)[0]):
        at = past_name(message, at)
        kind, _, _, size = struct.unpack_from("!HHIH", message, at)
        if kind == 1:
            found.add(socket.inet_ntoa(message[at + 10:at + 14]))
        signed |= kind == 46
        at += 10 + size
    return Reply(message[3] & 15, frozenset(found), signed)
