#!/usr/bin/env python3
"""What nearcast costs beside nginx, HAProxy, Varnish and Traffic Server (HTTP), and gdnsd, NSD and Knot (DNS).

CPU time per answered request is compared, not requests per second: it does not
depend on how fast the load generator is, and it is what a node pays for. See
benches/README.md for what the figures do and do not say.
"""
from __future__ import annotations

import argparse
import os
import platform
import re
import signal
import subprocess
import sys
import tempfile
from datetime import date
from pathlib import Path

sys.dont_write_bytecode = True
import comparison.dns.run as dns  # noqa: E402
import comparison.edge.run as edge  # noqa: E402
from comparison.fleet import NOTES, Fleet, Unfit, find  # noqa: E402
from comparison.measure import version  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
KINDS = {"http": edge, "dns": dns}


def heading(options: argparse.Namespace) -> str:
    """Everything without which the figures could not be placed later."""
    asked = [*(edge.versions() if "http" in options.rows else []), *(dns.VERSIONS if "dns" in options.rows else [])]
    tools = [f"{tool} {version([find(tool), flag])}" for tool, flag in asked]
    if not options.peers_only:
        tools.insert(0, f"nearcast {version([str(options.nearcast), '--version'])}")
    model = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    return (f"{date.today()}, {', '.join(tools)}, Linux {platform.release()}, "
            f"{model[1] if model else platform.machine()}; {options.rounds} rounds of "
            f"{options.seconds} s, one core per server, one for the load; files on {file_system(options.scratch)}\n\n"
            "CPU microseconds per request, where nothing else is said, median (min..max):")


def file_system(folder: Path) -> str:
    """Of what kind it is."""
    told = subprocess.run(["df", "--output=fstype", str(folder)], stdout=subprocess.PIPE, text=True, timeout=10).stdout.split()
    return told[-1] if told else "an unknown file system"


def run(fleet: Fleet, options: argparse.Namespace) -> None:
    """The tables, then what they rest on."""
    if not options.smoke:
        print(heading(options), flush=True)
    for kind, part in KINDS.items():
        if kind in options.rows:
            part.run(fleet, options)
    if not options.smoke:
        print("\n" + "\n".join(f"- {text}" for text in NOTES))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=int, default=4, help="length of one round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", default="http,dns", type=lambda text: text.split(","))
    parser.add_argument("--nearcast", type=Path, default=ROOT / "target/release/nearcast")
    parser.add_argument("--only", default="", help="rows with this in their name")
    parser.add_argument("--smoke", action="store_true", help="no figures: is every answer right?")
    parser.add_argument("--pair", action="store_true", help="also two workers beside one")
    parser.add_argument("--geo", type=Path, default=ROOT / "config/geo/nearcast-city.mmdb.zst",
                        help="GeoIP2 City database that gdnsd steers by (.mmdb or .mmdb.zst)")
    parser.add_argument("--cores", default="0,1", help="the server's core, the load's core")
    parser.add_argument("--scratch", type=Path, default=Path(tempfile.gettempdir()),
                        help="where all files are, caches among them; up to 8 GiB")
    parser.add_argument("--peers-only", action="store_true", help="leave nearcast out")
    options = parser.parse_args()
    if options.seconds < 1 or options.rounds < 1 or not set(options.rows) <= set(KINDS):
        parser.error("rounds and seconds are at least 1; rows are http and dns")
    if options.peers_only and options.pair:
        parser.error("--pair is about nearcast")
    return options


# Exit statuses: argparse's own for what was asked wrongly, and one that a caller may take for "not here".
UNUSABLE = 2
MISSING_TOOLS = 3


def preconditions(options: argparse.Namespace) -> tuple[int, int]:
    """Say all that is missing at once, as commands to paste."""
    tools = {"taskset": "util-linux"}
    for kind in options.rows:
        loads = KINDS[kind].LOADS if options.smoke else ()
        tools |= {tool: package for tool, package in KINDS[kind].PACKAGES.items() if tool not in loads}
    # A header counts as a tool of the compiler.
    wanted = sorted({package for tool, package in tools.items() if not find(tool) and not Path(tool).is_file()})
    server, load = (int(core) for core in options.cores.split(","))
    faults, status = [], MISSING_TOOLS
    if wanted:
        faults.append("missing tools; install them with\n  apt-get install -y "
                      "--no-install-recommends " + " ".join(wanted))
    if not options.peers_only and not options.nearcast.is_file():
        faults.append(f"no {options.nearcast}; build it with\n  cargo build --release")
        status = UNUSABLE
    if options.smoke:
        server = load = min(os.sched_getaffinity(0))
    elif server == load or not {server, load} <= os.sched_getaffinity(0):
        faults.append(f"cores {options.cores}: two different ones that may be used are needed")
        status = UNUSABLE
    if faults:
        print("\n".join(faults), file=sys.stderr)
        sys.exit(status)
    return server, load


def main() -> int:
    options = arguments()
    fleet = Fleet(preconditions(options), options.scratch)
    for sign in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(sign, lambda *_: sys.exit(130))
    try:
        run(fleet, options)
    except Unfit as fault:
        print(f"compare.py: {fault}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        fleet.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
