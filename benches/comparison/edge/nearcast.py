"""nearcast as it stands in the rows of HTTP: metrics and purge tables on, as always; no access log, as the peers; one worker."""
from __future__ import annotations

from pathlib import Path

from comparison.edge.setup import HOST, Surroundings
from comparison.fleet import Target, free_port


def config(around: Surroundings, base: Path, ports: tuple[int, int, int], sites: str = "") -> str:
    """What is not here is left at its default. `sites` take the place of the one site."""
    http, https, admin = ports
    setup = around.setup
    disk = f'disk = {{ path = "{base}/cache", size = "{setup.disk_mib} MiB" }}' if setup.disk_mib else ""
    site = sites or f"""[[site]]
domains = ["{HOST}"]
origin = "http://127.0.0.1:{around.origin}"
tls = {{ certificate = "{around.certificate}", key = "{around.key}" }}
{'disk = "always"' if setup.keeps_all else ''}
"""
    return f"""[listen]
http = ["127.0.0.1:{http}"]
https = ["127.0.0.1:{https}"]
dns = []
admin = "127.0.0.1:{admin}"
[runtime]
workers = {setup.workers}
[state]
path = "{base}/state"
[admin]
token = "correct-horse"
[shutdown]
linger = "0s"
grace = "0s"
[cache]
memory = "{setup.memory_mib} MiB"
{disk}
[[pop]]
name = "fra"
addresses = ["192.0.2.10"]
probe = false
{site}"""


def start(around: Surroundings, binary: Path, name: str = "nearcast", sites: str = "") -> Target:
    """With more than one worker it has the load's core, too."""
    base, ports = around.fleet.folder(name), (free_port(), free_port(), free_port())
    (base / "nearcast.toml").write_text(config(around, base, ports, sites))
    command = [str(binary.resolve()), "run", "--config", str(base / "nearcast.toml")]
    process = around.fleet.start(name, command, both=around.setup.workers > 1)
    return Target(name, process, http=ports[0], https=ports[1], admin=ports[2], folder=base)
