"""nearcast as it stands in the rows of DNS: one process for both kinds, as in use."""
from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

from comparison.dns.zones import HOST, POPS, SIGNED, ZONE
from comparison.fleet import Fleet, Target, free_port


def nearcast_config(base: Path, ports: tuple[int, int, int], workers: int, zones: list[str],
                    signs: bool) -> str:
    """As many workers as the peers have; everything else is left at its default. `zones` have files in the folder."""
    http, dns, admin = ports
    pops = "".join(f'[[pop]]\nname = "{pop}"\nlocation = [{lat}, {lon}]\n'
                   f'addresses = ["{address}"]\nprobe = false\n'
                   for pop, (address, (lat, lon)) in POPS.items())
    many = "".join(f'[[zone]]\nname = "{zone}"\nfile = "{base}/{zone}"\n' for zone in zones)
    signed = f"""[dns.dnssec]
keys = "{base}/keys"
[[zone]]
name = "{SIGNED}"
nameservers = ["ns1.{SIGNED}"]
dnssec = true
""" if signs else ""
    domains = [HOST, f"www.{SIGNED}"] if signs else [HOST]
    return f"""[listen]
http = ["127.0.0.1:{http}"]
https = []
dns = ["127.0.0.1:{dns}"]
admin = "127.0.0.1:{admin}"
[runtime]
workers = {workers}
[shutdown]
linger = "0s"
grace = "0s"
[state]
path = "{base}/state/{{pop}}"
[cache]
memory = "256 MiB"
{signed}{pops}[[zone]]
name = "{ZONE}"
nameservers = ["ns1.{ZONE}"]
ttl = 30
serial = 2026112201
{many}[[site]]
domains = {domains}
origin = "http://127.0.0.1:9"
"""


def can_sign(binary: Path) -> bool:
    """Whether it knows of DNSSEC."""
    return subprocess.run([str(binary.resolve()), "dnssec", "--help"], timeout=10,
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0


def start_nearcast(fleet: Fleet, binary: Path, many_zones: Callable[[Path], None],
                   workers: int = 1) -> Target:
    """One process serves both kinds, as it does in use."""
    name = "nearcast" if workers == 1 else f"nearcast-{workers}"
    base, ports = fleet.folder(name), (free_port(), free_port(), free_port())
    many_zones(base)
    zones = sorted(path.name for path in base.glob("*.bench.test"))
    signs = can_sign(binary)
    config = base / "nearcast.toml"
    config.write_text(nearcast_config(base, ports, workers, zones, signs))
    if signs:
        (base / "keys").mkdir(mode=0o700)
        subprocess.run([str(binary.resolve()), "dnssec", "keygen", "--config", str(config), SIGNED],
                       check=True, timeout=60, stdout=subprocess.DEVNULL)
    command = [str(binary.resolve()), "run", "--config", str(config), "--pop", "fra"]
    return Target(name, fleet.start(name, command, both=workers > 1), dns=ports[1])
