"""Figures of this project alone that other modules of the bench take, as programs of their own."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator

from bench.figures import LoadError

WITHIN = 300.0  # seconds for one of them
RUNS = 3
SHARES = 300  # simulated: enough for a slope, few enough for half a minute
GIB_IN_KB = 1 << 20

Values = Iterator[tuple[str, float]]

_BOOT = re.compile(r"Took\(clock=([\d.]+), cpu=([\d.]+)\)")
_STATIC_IP = re.compile(r"static_ip_(\w+) +(.+?) +([\d.]+) +\S+ +\(([\d.]+) to ([\d.]+)\)")


def output(module: str, *words: str) -> str:
    """What `python -m bench.MODULE` prints. Raises LoadError."""
    command = [sys.executable, "-m", f"bench.{module}", *words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=WITHIN)
    except subprocess.TimeoutExpired:
        raise LoadError(f"{module}: not done within {WITHIN:g} s") from None
    if done.returncode:
        raise LoadError(f"{module}: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
    return done.stdout


def relay_scale() -> Values:
    """Memory of a relay per parked connection; shares per GiB are extrapolated from a few."""
    return parse_relay_scale(output("relay_scale", "--shares", str(SHARES), "--json"))


def parse_relay_scale(text: str) -> Values:
    """Of bench.relay_scale."""
    found = json.loads(text)
    parked = found["kb_per_parked"]
    yield "relay_kb_per_parked", parked
    each = found["kb_per_share"] + parked * found["parked"] / found["shares"]
    yield "shares_per_gb", (GIB_IN_KB - found["kb_start"]) / each


def connect_vm_boot() -> Values:
    """How long the connect VM takes to boot, against the bare kernel."""
    from connect_vm.images import INITRAMFS, KERNEL, find_image
    from connect_vm.vm_libvirt import MEMORY_MIB

    folder = find_image().folder
    yield "vm_image_mb", sum((folder / name).stat().st_size for name in (KERNEL, INITRAMFS)) / 1e6
    yield "vm_ram_mb", MEMORY_MIB
    yield from parse_boot(output("connect_vm_boot", str(RUNS)))


def parse_boot(text: str) -> Values:
    """Of bench.connect_vm_boot."""
    for line in text.splitlines():
        if len(found := _BOOT.findall(line)) == 2:
            (bare, bare_cpu), (ready, ready_cpu) = found
            yield "vm_ready_bare", float(bare)
            yield "vm_ready", float(ready)
            yield "vm_ready_ratio", float(ready) / float(bare)
            yield "vm_ready_cpu_ratio", float(ready_cpu) / float(bare_cpu)


def static_ip() -> Values:
    """Through the connect VM, against the bare NIC of such a VM."""
    return parse_static_ip(output("static_ip", str(RUNS)))


def parse_static_ip(text: str) -> Values:
    """Of bench.static_ip, which prints median, least and most: they stand for the runs."""
    rows = {match.group(1, 2): match for match in _STATIC_IP.finditer(text)}
    for figure, unit in (("down", 1.0), ("up", 1.0), ("open", 1000.0)):
        if mine := rows.get((figure, "vconnect")):
            name = "static_ip_open_p50" if figure == "open" else f"static_ip_{figure}"
            for number in (3, 4, 5):
                yield name, float(mine[number]) * unit
        bare = rows.get((figure, "bare NIC"))
        if mine and bare and figure != "open":
            yield f"static_ip_{figure}_fraction", float(mine[3]) / float(bare[3])


ALL: dict[str, Callable[[], Values]] = {
    "relay_scale": relay_scale,
    "connect_vm_boot": connect_vm_boot,
    "static_ip": static_ip,
}
NEED_ROOT = ("connect_vm_boot", "static_ip")  # each makes a network namespace of its own


def available() -> list[str]:
    """Those that this machine can take."""
    there = [name for name in ALL if importlib.util.find_spec(f"bench.{name}")]
    return [name for name in there if name not in NEED_ROOT or os.geteuid() == 0]
