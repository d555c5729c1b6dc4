"""Other caches, as Debian packages them: one worker, no access log, connections kept for long, and as much room as we have."""
from __future__ import annotations

import os
import subprocess
from collections.abc import Callable

from comparison.edge.setup import Surroundings
from comparison.fleet import Target, find, free_port

# sendfile with tcp_nopush is what nginx's documentation tunes for, but over loopback, whose
# segments are 64 KiB, it stalls on some sizes; large buffers do not. Both are measured.
SENDING = {"nginx": "sendfile off; output_buffers 1 1m;",
           "nginx-sendfile": "sendfile on; tcp_nopush on;"}
CONNECTIONS = 16384


def start_nginx(around: Surroundings, name: str) -> Target:
    """Its master, worker and cache manager are metered together. It caches in files: its memory is the page cache, which nobody limits."""
    base, http, https = around.fleet.folder(name), free_port(), free_port()
    user = "user root root;" if os.geteuid() == 0 else ""
    temps = "".join(f"  {kind}_temp_path {base}/{kind};\n" for kind in
                    ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    size = around.setup.disk_mib or around.setup.memory_mib
    (base / "nginx.conf").write_text(f"""daemon off; {user}
worker_processes {around.setup.workers};
worker_rlimit_nofile {CONNECTIONS + 2048};
pid {base}/nginx.pid;
error_log {base}/error.log warn;
events {{ worker_connections {CONNECTIONS}; }}
http {{
{temps}  access_log off;
  {SENDING[name]} tcp_nodelay on;
  keepalive_timeout 600s; keepalive_requests 1000000000;
  open_file_cache max=1000 inactive=600s; open_file_cache_valid 600s;
  open_file_cache_min_uses 1;
  proxy_cache_path {base}/cache levels=1:2 keys_zone=bench:128m max_size={size}m
                   inactive=1h use_temp_path=off;
  upstream origin {{ server 127.0.0.1:{around.origin}; keepalive 128; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{http} backlog=4096; listen 127.0.0.1:{https} ssl http2 backlog=4096;
    ssl_certificate {around.certificate}; ssl_certificate_key {around.key};
    ssl_protocols TLSv1.3;
    location / {{
      proxy_pass http://origin; proxy_http_version 1.1;
      proxy_set_header Connection ""; proxy_set_header Host $host;
      proxy_cache bench; proxy_cache_lock on;
    }}
  }}
}}
""")
    command = [find("nginx"), "-p", str(base), "-c", str(base / "nginx.conf"),
               "-e", str(base / "error.log")]
    return Target(name, around.fleet.start(name, command), http=http, https=https, folder=base)


def start_haproxy(around: Surroundings) -> Target:
    """Its cache is memory alone."""
    base, http, https = around.fleet.folder("haproxy"), free_port(), free_port()
    (base / "haproxy.cfg").write_text(f"""global
  nbthread {around.setup.workers}
  maxconn {CONNECTIONS // 2}
  ssl-default-bind-options ssl-min-ver TLSv1.3
defaults
  mode http
  timeout connect 5s
  timeout client 600s
  timeout server 600s
  timeout http-keep-alive 600s
  timeout http-request 600s
  http-reuse always
cache bench
  total-max-size {around.setup.memory_mib}
  max-object-size 4194304
  max-age 3600
frontend edge
  bind 127.0.0.1:{http} backlog 4096
  bind 127.0.0.1:{https} backlog 4096 ssl crt {around.pem} alpn h2,http/1.1
  default_backend origin
backend origin
  http-request cache-use bench
  http-response cache-store bench
  server origin 127.0.0.1:{around.origin}
""")
    command = [find("haproxy"), "-db", "-f", str(base / "haproxy.cfg")]
    return Target("haproxy", around.fleet.start("haproxy", command), http=http, https=https, folder=base)


def start_varnish(around: Surroundings) -> Target:
    """A thread for each busy connection. It has no TLS. With a disk: one file mapped into memory."""
    base, http = around.fleet.folder("varnish"), free_port()
    (base / "bench.vcl").write_text(f"""vcl 4.1;
backend default {{ .host = "127.0.0.1"; .port = "{around.origin}"; }}
""")
    setup = around.setup
    storage = f"file,{base}/cache,{setup.disk_mib}M" if setup.disk_mib else f"malloc,{setup.memory_mib}M"
    command = [find("varnishd"), "-F", "-n", str(base / "work"), "-j", "none", "-T", "none",
               "-a", f"127.0.0.1:{http}", "-f", str(base / "bench.vcl"), "-s", storage,
               "-p", "thread_pools=1", "-p", "thread_pool_min=100", "-p", "thread_pool_max=2000",
               "-p", "timeout_idle=600", "-p", "listen_depth=4096"]
    return Target("varnish", around.fleet.start("varnish", command), http=http, folder=base)


def start_ats(around: Surroundings) -> Target:
    """One thread for connections beside those that its files need. Without a disk it still has one: it cannot do without."""
    base, http, https = around.fleet.folder("ats"), free_port(), free_port()
    for folder in ("etc", "run", "log", "cache", "body"):
        (base / folder).mkdir()
    setup = around.setup
    settings = {
        "http.server_ports STRING": f"{http} {https}:ssl",
        "exec_thread.autoconfig INT": 0, "exec_thread.limit INT": setup.workers, "accept_threads INT": 0,
        "task_threads INT": 1, "cache.ram_cache.size INT": setup.memory_mib << 20,
        "cache.min_average_object_size INT": 4096, "cache.enable_read_while_writer INT": 1,
        "http.background_fill_completed_threshold FLOAT": 0.0, "http.background_fill_active_timeout INT": 0,
        "http.cache.open_read_retry_time INT": 10, "http.cache.max_open_read_retries INT": 500,
        "http.cache.open_write_fail_action INT": 5, "http.cache.max_open_write_retries INT": 100,
        "http.keep_alive_no_activity_timeout_in INT": 600, "http.keep_alive_no_activity_timeout_out INT": 600,
        "http.transaction_no_activity_timeout_in INT": 600,
        "net.connections_throttle INT": CONNECTIONS, "net.max_connections_in INT": CONNECTIONS, "net.listen_backlog INT": 4096,
        "net.default_inactivity_timeout INT": 600,
        "ssl.server.cert.path STRING": around.fleet.base, "ssl.server.private_key.path STRING": around.fleet.base,
        "ssl.TLSv1_2 INT": 0, "url_remap.remap_required INT": 1, "log.logging_enabled INT": 0,
        "admin.user_id STRING": "#-1", "http.insert_response_via_str INT": 0, "dns.round_robin_nameservers INT": 0,
    }
    (base / "etc/records.config").write_text("".join(
        f"CONFIG proxy.config.{name} {value}\n" for name, value in settings.items()))
    (base / "etc/remap.config").write_text(f"map / http://127.0.0.1:{around.origin}/\n")
    (base / "etc/storage.config").write_text(f"{base}/cache {max(setup.disk_mib, 256)}M\n")
    (base / "etc/ssl_multicert.config").write_text(
        f"dest_ip=* ssl_cert_name={around.certificate.name} ssl_key_name={around.key.name}\n")
    (base / "etc/ip_allow.yaml").write_text(
        "ip_allow:\n- {apply: in, ip_addrs: 127.0.0.1, action: allow, methods: ALL}\n")
    for empty in ("plugin.config", "cache.config", "hosting.config", "parent.config", "volume.config",
                  "splitdns.config", "socks.config", "logging.yaml", "sni.yaml", "strategies.yaml"):
        (base / "etc" / empty).write_text("")
    ways = {"sysconfdir": base / "etc", "localstatedir": base, "runtimedir": base / "run", "logdir": base / "log",
            "cachedir": base / "cache"} | installed("PREFIX", "BINDIR", "LIBDIR", "INCLUDEDIR")
    ways |= {"exec_prefix": ways["prefix"], "sbindir": ways["bindir"], "libexecdir": installed("PLUGINDIR")["plugindir"],
             "datadir": base, "mandir": base, "infodir": base}
    (base / "runroot.yaml").write_text("".join(f"{name}: {path}\n" for name, path in ways.items()))
    command = [find("traffic_server"), f"--run-root={base}/runroot.yaml"]
    return Target("ats", around.fleet.start("ats", command), http=http, https=https, folder=base)


def installed(*names: str) -> dict[str, str]:
    """Where Debian has put it."""
    told = subprocess.run([find("traffic_layout"), "info"], stdout=subprocess.PIPE, text=True, timeout=20,
                          stderr=subprocess.DEVNULL).stdout
    ways = dict(line.split(": ", 1) for line in told.splitlines() if ": " in line)
    return {name.lower(): ways[name] for name in names}


# By name: the program that must be there, the package it is in, how its version is asked for, and how it is started.
PEERS: dict[str, tuple[str, str, str, Callable[[Surroundings], Target]]] = {
    "nginx": ("nginx", "nginx-light", "-v", lambda around: start_nginx(around, "nginx")),
    "nginx-sendfile": ("nginx", "nginx-light", "-v", lambda around: start_nginx(around, "nginx-sendfile")),
    "haproxy": ("haproxy", "haproxy", "-v", start_haproxy),
    "varnish": ("varnishd", "varnish", "-V", start_varnish),
    "ats": ("traffic_server", "trafficserver", "-V", start_ats),
}
