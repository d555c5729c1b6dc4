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
SIGNED = "signed.bench.test"
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
    # What only sends back what came: there is nothing to check.
    floor: bool = False


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


def nearcast_config(base: Path, ports: tuple[int, int, int, int], workers: int, zones: list[str],
                    signs: bool) -> str:
    """As many workers as the peers have; everything else is left at its default. `zones` have files in the folder."""
    http, dns, admin, origin = ports
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

    def start(self, name: str, command: list[str], both: bool = False) -> subprocess.Popen[bytes]:
        """Each server leads its own process group: its workers are ended with it. `both` gives it the load's core, too."""
        cores = f"{self.server_core},{self.load_core}" if both else str(self.server_core)
        with open(self.base / f"{name}.log", "wb") as log:
            process = subprocess.Popen(["taskset", "-c", cores, *command],
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


def can_sign(binary: Path) -> bool:
    """Whether it knows of DNSSEC."""
    return subprocess.run([str(binary.resolve()), "dnssec", "--help"], timeout=10,
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0


def start_nearcast(fleet: Fleet, binary: Path, origin: int, many_zones: Callable[[Path], None],
                   workers: int = 1) -> Target:
    """One process serves both kinds, as it does in use."""
    name = "nearcast" if workers == 1 else f"nearcast-{workers}"
    base, ports = fleet.folder(name), (free_port(), free_port(), free_port(), origin)
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
    return Target(name, fleet.start(name, command, both=workers > 1), ports[0], ports[1])


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
