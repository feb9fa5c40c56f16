"""What is on a host of the lab, so that two looks show what was left behind between them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.lab import Host

KEPT = (".cache", ".vagrant.d", "demo/.vagrant", ".local/state/vshare/log")
"""Below HOME: caches and audit logs stay, and what Vagrant itself writes is Vagrant's."""
FOLDERS = (".local", ".local/state", ".local/state/vshare", ".local/state/vshare/run")
"""They may stay, with nothing else in them."""


@dataclass(frozen=True, slots=True)
class Traces:
    """One look at a host."""

    domains: frozenset[str]
    networks: frozenset[str]
    interfaces: frozenset[str]
    routes: frozenset[str]
    processes: frozenset[str]
    files: frozenset[str]

    def left_since(self, before: Traces) -> list[str]:
        """What is here now and was not before, one line each."""
        found = []
        for kind in Traces.__dataclass_fields__:
            extra = getattr(self, kind) - getattr(before, kind)
            found += [f"{kind}: {item}" for item in sorted(extra)]
        return found


def look(host: Host, *, with_libvirt: bool = True) -> Traces:
    """Look at everything that one of our commands might leave on `host`."""

    def lines(*command: str) -> frozenset[str]:
        return frozenset(line.strip() for line in host.run(command).stdout.splitlines() if line)

    processes = (line.partition(" ")[2] for line in host.processes())
    folders = [host.home, host.tmp, *(host.path(at) for at in ("/run/user/0", "/dev/shm"))]
    return Traces(
        lines("virsh", "list", "--all", "--name") if with_libvirt else frozenset(),
        lines("virsh", "net-list", "--all", "--name") if with_libvirt else frozenset(),
        lines("ls", "/sys/class/net"),
        lines("ip", "route"),
        frozenset(processes),
        frozenset(name for folder in folders for name in _files(folder)),
    )


def _files(folder: Path) -> list[str]:
    found = []
    for path in folder.rglob("*"):
        name = str(path.relative_to(folder))
        if name not in FOLDERS and not any(
            name == kept or name.startswith(f"{kept}/") for kept in KEPT
        ):
            found.append(f"{folder.name}/{name}")
    return found
