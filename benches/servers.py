"""The servers of the comparison: how each is configured, started, metered and ended."""
from __future__ import annotations

import hashlib
import http.client
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ZONE = "cdn.bench.test"
HOST = f"www.{ZONE}"
BODIES = {f"/{label}": random.Random(size).randbytes(size)
          for label, size in (("1k", 1 << 10), ("64k", 1 << 16), ("1m", 1 << 20))}
POPS = {"fra": ("192.0.2.10", (50.03, 8.57)),
        "iad": ("192.0.2.20", (38.95, -77.45)),
        "sin": ("192.0.2.30", (1.36, 103.99))}
READY_SECONDS = 60.0
# sendfile with tcp_nopush is what nginx's documentation tunes for, but over loopback, whose
# segments are 64 KiB, it stalls on some sizes; large buffers do not. Both are measured.
SENDING = {"nginx": "sendfile off; output_buffers 1 1m;",
           "nginx-sendfile": "sendfile on; tcp_nopush on;"}
NOTES: list[str] = []


class Unfit(Exception):
    """A row, or the whole run, that must not end in a figure."""


@dataclass
class Target:
    """A running server; a port of 0 means that it does not serve that kind."""
    name: str
    process: subprocess.Popen[bytes]
    http: int = 0
    dns: int = 0


def find(tool: str) -> str:
    """The tool's path; servers live in sbin, which is not in every user's PATH."""
    return shutil.which(tool, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin") or ""


def note(text: str) -> None:
    """Keep a remark for below the table: it says what the figures rest on."""
    NOTES.append(text)


class Origin(BaseHTTPRequestHandler):
    """Serves the bodies and counts, so that a "hit" row can prove that it was one."""
    protocol_version = "HTTP/1.1"
    asked: Counter[str] = Counter()

    def do_GET(self) -> None:
        body = BODIES.get(self.path)
        self.asked[self.path] += 1
        self.send_response(200 if body else 404)
        self.send_header("Content-Length", str(len(body or b"")))
        if body:
            self.send_header("Content-Type", "application/octet-stream")
            self.send_header("Cache-Control", "public, max-age=3600")
            self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()[:16]}"')
        self.end_headers()
        self.wfile.write(body or b"")

    def log_message(self, *_: object) -> None:
        """Silent: the table is the only output that matters."""


def origin_port() -> int:
    """Start the origin in this process, which is idle while load is applied."""
    server = ThreadingHTTPServer(("127.0.0.1", free_port()), Origin)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_address[1]


def free_port() -> int:
    """A port below the ephemeral range, so that no client socket takes it meanwhile."""
    while True:
        port = random.randrange(20000, 32000)
        try:
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                with socket.socket(socket.AF_INET, kind) as probe:
                    probe.bind(("127.0.0.1", port))
            return port
        except OSError:
            continue


def nginx_config(base: Path, port: int, origin: int, sending: str) -> str:
    """Tuned for hits: one worker, open files kept, long keep-alive, no access log."""
    user = "user root root;" if os.geteuid() == 0 else ""
    temps = "".join(f"  {kind}_temp_path {base}/{kind};\n" for kind in
                    ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    return f"""daemon off; {user}
worker_processes 1;
pid {base}/nginx.pid;
error_log {base}/error.log warn;
events {{ worker_connections 4096; }}
http {{
{temps}  access_log off;
  {sending} tcp_nodelay on;
  keepalive_timeout 600s; keepalive_requests 1000000000;
  open_file_cache max=1000 inactive=600s; open_file_cache_valid 600s;
  open_file_cache_min_uses 1;
  proxy_cache_path {base}/cache levels=1:2 keys_zone=bench:16m max_size=256m
                   inactive=1h use_temp_path=off;
  upstream origin {{ server 127.0.0.1:{origin}; keepalive 4; }}
  server {{
    listen 127.0.0.1:{port}; server_name {HOST};
    location / {{
      proxy_pass http://origin; proxy_http_version 1.1;
      proxy_set_header Connection ""; proxy_set_header Host $host;
      proxy_cache bench; proxy_cache_lock on;
    }}
  }}
}}
"""


def gdnsd_map(base: Path, geo: Path) -> str:
    """A City database with distances where there is one, else fixed /8s per PoP."""
    if not geo.exists():
        note(f"no {geo}: gdnsd steers by a table of /8 networks, not by a City database")
        nets = " ".join(f"{n}.0.0.0/8 => {list(POPS)[n % 3]}" for n in range(1, 224))
        return f"nets => {{ {nets} }}"
    plain = geo
    if geo.suffix == ".zst":
        plain = base / "city.mmdb"
        if subprocess.run(["zstd", "-dqf", str(geo), "-o", str(plain)], timeout=60).returncode:
            raise Unfit(f"{geo} cannot be unpacked; name another with --geo")
    note(f"gdnsd steers by {geo.name} with auto_dc_coords")
    spots = " ".join(f"{pop} => [ {lat}, {lon} ]" for pop, (_, (lat, lon)) in POPS.items())
    return f'geoip2_db => "{plain.resolve()}", auto_dc_coords => {{ {spots} }}'


def gdnsd_files(base: Path, port: int, geo: Path) -> None:
    """gdnsd reads a directory, and keeps its state in two more that it must own."""
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
    records = "".join(f"{pop} A {address}\n" for pop, (address, _) in POPS.items())
    (base / "zones" / ZONE).write_text(f"""$TTL 30
@ SOA ns1 hostmaster 2026112201 7200 1800 259200 30
@ NS ns1
ns1 A 192.0.2.10
{records}www DYNA geoip!www
""")


def nearcast_config(base: Path, http: int, dns: int, admin: int, origin: int) -> str:
    """One worker, as the peers have; everything else is left at its default."""
    pops = "".join(f'[[pop]]\nname = "{pop}"\nlocation = [{lat}, {lon}]\n'
                   f'addresses = ["{address}"]\nprobe = false\n'
                   for pop, (address, (lat, lon)) in POPS.items())
    return f"""[listen]
http = ["127.0.0.1:{http}"]
https = []
dns = ["127.0.0.1:{dns}"]
admin = "127.0.0.1:{admin}"
[runtime]
workers = 1
[state]
path = "{base}/state/{{pop}}"
[cache]
memory = "256 MiB"
{pops}[[zone]]
name = "{ZONE}"
nameservers = ["ns1.{ZONE}"]
ttl = 30
serial = 2026112201
[[site]]
domains = ["{HOST}"]
origin = "http://127.0.0.1:{origin}"
"""


class Fleet:
    """Owns the temporary directory and every server, so that one exit ends them all."""

    def __init__(self, cores: tuple[int, int]) -> None:
        self.server_core, self.load_core = cores
        self.base = Path(tempfile.mkdtemp(prefix="nearcast-bench-"))
        self.running: list[subprocess.Popen[bytes]] = []

    def folder(self, name: str) -> Path:
        path = self.base / name
        path.mkdir()
        return path

    def start(self, name: str, command: list[str]) -> subprocess.Popen[bytes]:
        """Each server leads its own process group: its workers are ended with it."""
        with open(self.base / f"{name}.log", "wb") as log:
            process = subprocess.Popen(["taskset", "-c", str(self.server_core), *command],
                                       stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                       start_new_session=True)
        self.running.append(process)
        return process

    def load(self, command: list[str], seconds: float) -> str:
        return subprocess.run(["taskset", "-c", str(self.load_core), *command], check=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              timeout=seconds + 20).stdout

    def ready(self, target: Target, check: Callable[[], object]) -> Target:
        """Poll until the check passes; a server that died or never came says why."""
        deadline, last = time.monotonic() + READY_SECONDS, ""
        while time.monotonic() < deadline and target.process.poll() is None:
            try:
                check()
                return target
            except (OSError, http.client.HTTPException, Unfit) as fault:
                last = str(fault)
                time.sleep(0.05)
        log = (self.base / f"{target.name}.log").read_text(errors="replace")
        raise Unfit(f"{target.name} did not become ready ({last}):\n{log[-2000:]}")

    def close(self) -> None:
        for sign in (signal.SIGTERM, signal.SIGKILL):
            for process in self.running:
                end_group(process, sign)
        shutil.rmtree(self.base, ignore_errors=True)


def end_group(process: subprocess.Popen[bytes], sign: signal.Signals) -> None:
    """Signal a server's group and give it a moment to go."""
    try:
        os.killpg(process.pid, sign)
        process.wait(timeout=3)
    except (ProcessLookupError, subprocess.TimeoutExpired):
        pass


def start_nginx(fleet: Fleet, origin: int, name: str) -> Target:
    """Its master, worker and cache manager are metered together."""
    base, port = fleet.folder(name), free_port()
    (base / "nginx.conf").write_text(nginx_config(base, port, origin, SENDING[name]))
    command = [find("nginx"), "-p", str(base), "-c", str(base / "nginx.conf"),
               "-e", str(base / "error.log")]
    return Target(name, fleet.start(name, command), http=port)


def start_gdnsd(fleet: Fleet, geo: Path) -> Target:
    """In the foreground: it must stay in the group that is ended with the run."""
    base, port = fleet.folder("gdnsd"), free_port()
    gdnsd_files(base, port, geo)
    return Target("gdnsd", fleet.start("gdnsd", [find("gdnsd"), "-c", str(base), "start"]),
                  dns=port)


def start_nearcast(fleet: Fleet, binary: Path, origin: int) -> Target:
    """One process serves both kinds, as it does in use."""
    base, http_port, dns_port = fleet.folder("nearcast"), free_port(), free_port()
    config = base / "nearcast.toml"
    config.write_text(nearcast_config(base, http_port, dns_port, free_port(), origin))
    command = [str(binary.resolve()), "run", "--config", str(config), "--pop", "fra"]
    return Target("nearcast", fleet.start("nearcast", command), http_port, dns_port)


def cpu_ticks(root: int) -> int:
    """User and system ticks of a process, its descendants and those already reaped."""
    stats: dict[int, tuple[int, int]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        stats[int(entry.parent.name)] = int(fields[1]), sum(map(int, fields[11:15]))
    family, grown = {root}, True
    while grown:
        children = {pid for pid, (parent, _) in stats.items() if parent in family}
        grown = not children <= family
        family |= children
    return sum(stats[pid][1] for pid in family if pid in stats)
