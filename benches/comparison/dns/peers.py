"""Other servers of DNS, as Debian packages them, with one worker and the same zones each, and the floor beneath all."""
from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from comparison.dns.rows import NAMES, ZONES, many_address
from comparison.dns.zones import POPS, SIGNED, ZONE
from comparison.fleet import Fleet, Target, Unfit, find, free_port, note

# Where a PoP stands for a continent: Knot's module goes by fields of the City database, not by distance.
CONTINENTS = {"EU": "fra", "AF": "fra", "NA": "iad", "SA": "iad", "AS": "sin", "OC": "sin"}
PLAIN_WWW = POPS["fra"][0]


def zone_text(extra: str) -> str:
    """The zone of the rows; `extra` is how the steered name is written."""
    records = "".join(f"{pop} A {address}\n" for pop, (address, _) in POPS.items())
    return f"""$TTL 30
@ SOA ns1 hostmaster 2026112201 7200 1800 259200 30
@ NS ns1
ns1 A 192.0.2.10
{records}{extra}
"""


def many_zones(folder: Path) -> None:
    """A thousand zones of a hundred names, a file each, named as the zone."""
    for zone in range(ZONES):
        names = "".join(f"n{name} A {many_address(zone, name)}\n" for name in range(NAMES))
        (folder / f"z{zone}.bench.test").write_text(
            f"$TTL 300\n@ SOA ns1 hostmaster 1 7200 1800 259200 30\n@ NS ns1\nns1 A 192.0.2.10\n{names}")


def unpacked(base: Path, geo: Path) -> Path | None:
    """The City database as a file that others read."""
    if not geo.exists():
        return None
    if geo.suffix != ".zst":
        return geo.resolve()
    plain = base / "city.mmdb"
    if subprocess.run(["zstd", "-dqf", str(geo), "-o", str(plain)], timeout=60).returncode:
        raise Unfit(f"{geo} cannot be unpacked; name another with --geo")
    return plain.resolve()


def gdnsd_map(base: Path, geo: Path) -> str:
    """A City database with distances where there is one, else fixed /8s per PoP."""
    plain = unpacked(base, geo)
    if plain is None:
        note(f"no {geo}: gdnsd steers by a table of /8 networks, not by a City database")
        nets = " ".join(f"{n}.0.0.0/8 => {list(POPS)[n % 3]}" for n in range(1, 224))
        return f"nets => {{ {nets} }}"
    note(f"gdnsd steers by {geo.name} with auto_dc_coords")
    spots = " ".join(f"{pop} => [ {lat}, {lon} ]" for pop, (_, (lat, lon)) in POPS.items())
    return f'geoip2_db => "{plain}", auto_dc_coords => {{ {spots} }}'


def start_gdnsd(fleet: Fleet, geo: Path) -> Target:
    """It reads a directory and keeps its state in two more that it must own. In the foreground: it must stay in the group
    that is ended with the run."""
    base, port = fleet.folder("gdnsd"), free_port()
    (base / "zones").mkdir()
    homes = " ".join(f"{pop} => {address}" for pop, (address, _) in POPS.items())
    (base / "config").write_text(f"""options => {{
  listen => [ "127.0.0.1:{port}" ], udp_threads => 1, tcp_threads => 1,
  run_dir => "{base}/run", state_dir => "{base}/state"
}}
plugins => {{ geoip => {{
  maps => {{ world => {{ datacenters => [ {", ".join(POPS)} ], {gdnsd_map(base, geo)} }} }},
  resources => {{ www => {{ map => world, dcmap => {{ {homes} }} }} }}
}} }}
""")
    (base / "zones" / ZONE).write_text(zone_text("www DYNA geoip!www"))
    many_zones(base / "zones")
    return Target("gdnsd", fleet.start("gdnsd", [find("gdnsd"), "-c", str(base), "start"]), dns=port)


def start_nsd(fleet: Fleet) -> Target:
    """Its master, its one server and the process for transfers are metered together."""
    base, port = fleet.folder("nsd"), free_port()
    many_zones(base)
    (base / ZONE).write_text(zone_text(""))
    zones = "".join(f'zone:\n  name: "{zone}"\n  zonefile: "{zone}"\n'
                    for zone in [ZONE, *(f"z{n}.bench.test" for n in range(ZONES))])
    user = '  username: ""\n' if os.geteuid() else '  username: "root"\n'
    (base / "nsd.conf").write_text(f"""server:
  server-count: 1
  ip-address: 127.0.0.1@{port}
  chroot: ""
{user}  zonesdir: "{base}"
  pidfile: "{base}/nsd.pid"
  xfrdfile: "{base}/xfrd.state"
  zonelistfile: "{base}/zone.list"
  xfrdir: "{base}"
  cookie-secret-file: "{base}/cookies"
  database: ""
  minimal-responses: yes
  rrl-ratelimit: 0
remote-control:
  control-enable: no
{zones}""")
    command = [find("nsd"), "-d", "-c", str(base / "nsd.conf")]
    return Target("nsd", fleet.start("nsd", command), dns=port)


def start_knot(fleet: Fleet, geo: Path) -> Target:
    """Its geoip module has the steered name. The signed zone is signed when it is loaded, steered answers too."""
    base, port = fleet.folder("knot"), free_port()
    many_zones(base)
    for zone in (ZONE, SIGNED):
        (base / zone).write_text(zone_text(f"www A {PLAIN_WWW}"))
        homes = "".join(f'  - geo: "{continent}"\n    A: {POPS[pop][0]}\n'
                        for continent, pop in CONTINENTS.items())
        (base / f"{zone}.geo").write_text(f"www.{zone}:\n{homes}")
    plain = unpacked(base, geo)
    if plain is None:
        note(f"no {geo}: Knot does not steer")
    module = "" if plain is None else "\n    module: mod-geoip/{}"
    modules = "" if plain is None else "mod-geoip:\n" + "".join(
        f'  - id: {zone}\n    config-file: "{base}/{zone}.geo"\n    ttl: 30\n    mode: geodb\n'
        f'    geodb-file: "{plain}"\n    geodb-key: continent/code\n' for zone in (ZONE, SIGNED))
    zones = "".join(f"  - domain: {zone}\n    file: {zone}\n"
                    for zone in (f"z{n}.bench.test" for n in range(ZONES)))
    (base / "knot.conf").write_text(f"""server:
  rundir: "{base}"
  listen: 127.0.0.1@{port}
  udp-workers: 1
  tcp-workers: 1
  background-workers: 1
  edns-client-subnet: on
database:
  storage: "{base}"
log:
  - target: stderr
    any: warning
policy:
  - id: signed
    manual: on
{modules}template:
  - id: default
    storage: "{base}"
    zonefile-load: whole
    zonefile-sync: -1
    journal-content: none
zone:
  - domain: {ZONE}
    file: {ZONE}{module.format(ZONE)}
  - domain: {SIGNED}
    file: {SIGNED}
    dnssec-signing: on
    dnssec-policy: signed{module.format(SIGNED)}
{zones}""")
    # The module signs with keys that are there before the zone is.
    subprocess.run([find("keymgr"), "-c", str(base / "knot.conf"), SIGNED, "generate", "ksk=yes", "zsk=yes",
                    "algorithm=ecdsap256sha256"], check=True, timeout=20, stdout=subprocess.DEVNULL)
    command = [find("knotd"), "-c", str(base / "knot.conf")]
    return Target("knot", fleet.start("knot", command), dns=port)


def start_echo(fleet: Fleet, workers: int = 1) -> Target:
    """Compiled for the occasion by whatever compiler links Rust programs here."""
    name = "echo" if workers == 1 else f"echo-{workers}"
    base, port = fleet.folder(name), free_port()
    compiler = shutil.which("cc") or "cc"
    source = Path(__file__).with_name("echo.c")
    subprocess.run([compiler, "-O2", "-o", str(base / "echo"), str(source)], check=True, timeout=60)
    command = [str(base / "echo"), str(port), str(workers)]
    return Target(name, fleet.start(name, command, both=workers > 1), dns=port, floor=True)
