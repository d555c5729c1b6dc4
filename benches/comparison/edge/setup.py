"""What all servers of a group of HTTP rows have in common: their room, their certificate, and the origin behind them."""
from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from comparison.fleet import Fleet, find

# It is in the certificate, and what wrk and h2load name in SNI.
HOST = "localhost"


@dataclass(frozen=True)
class Setup:
    """One group of servers, up together and then ended."""
    name: str
    memory_mib: int = 256
    # 0: in memory alone, where a server can do so.
    disk_mib: int = 0
    # Whether each object is to be on disk from its first sight; else as each server does it by itself.
    keeps_all: bool = False
    workers: int = 1


@dataclass(frozen=True)
class Surroundings:
    """What servers are started with."""
    fleet: Fleet
    setup: Setup
    origin: int
    # Certificate and key, and one file with both.
    certificate: Path
    key: Path
    pem: Path


def make_certificate(folder: Path) -> tuple[Path, Path, Path]:
    """ECDSA with P-256, as most sites have it now; self-signed, and nobody checks."""
    certificate, key, pem = folder / "site.crt", folder / "site.key", folder / "site.pem"
    subprocess.run([find("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                    "-nodes", "-days", "30", "-subj", f"/CN={HOST}", "-addext", f"subjectAltName=DNS:{HOST}",
                    "-keyout", str(key), "-out", str(certificate)], check=True, timeout=20,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    pem.write_text(certificate.read_text() + key.read_text())
    return certificate, key, pem
