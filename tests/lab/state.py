"""Where the labs of this machine are written down, so that `exec` finds them and `clean` ends them.

One folder per lab, /var/lib/vshare-lab/ID; ID begins with the pid of the process that owns it,
in hexadecimal. It holds state.json and the hosts' scratch folders. Not below /run, since each
host has a /run of its own and sees this folder under the same path as the machine does.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from tunnel.errors import UsageError, VshareError

BASE = Path("/var/lib/vshare-lab")
STATE_FILE = "state.json"
GONE_WITHIN = 10.0  # seconds for the kernel to tear a killed host's processes down


@dataclass
class Process:
    """A process named beyond doubt: pids are used again, a pid with its start time is not."""

    pid: int
    started: int

    def alive(self) -> bool:
        """Whether it still runs (a zombie does not)."""
        return start_time(self.pid) == self.started


@dataclass
class HostState:
    """What `exec` needs to enter a host."""

    holder: Process
    address: str
    folder: str
    environment: dict[str, str]


@dataclass
class LabState:
    """state.json of one lab."""

    id: str
    owner: Process
    hosts: dict[str, HostState] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """The lab's folder on the machine."""
        return BASE / self.id

    def save(self) -> None:
        """Write state.json, whole or not at all."""
        temporary = self.folder / f".{STATE_FILE}"
        temporary.write_bytes(msgspec.json.encode(self))
        temporary.replace(self.folder / STATE_FILE)


def start_time(pid: int) -> int | None:
    """When a process started, in clock ticks since boot; None if it is gone.

    proc(5), stat, field 22. A zombie counts as gone.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def process(pid: int) -> Process:
    """The running process `pid`. Raises VshareError when it is gone."""
    started = start_time(pid)
    if started is None:
        raise VshareError(f"process {pid} of the lab has ended")
    return Process(pid, started)


def create() -> LabState:
    """A new lab's folder, owned by this process."""
    BASE.mkdir(mode=0o700, parents=True, exist_ok=True)
    owner = process(os.getpid())
    number = 0
    while True:
        number += 1
        name = f"{owner.pid:x}" + (f".{number}" if number > 1 else "")
        try:
            (BASE / name).mkdir(mode=0o700)
        except FileExistsError:
            continue
        state = LabState(name, owner)
        state.save()
        return state


def labs() -> list[LabState]:
    """Every lab written down, alive or not, the newest last."""
    found: list[tuple[float, LabState]] = []
    for path in BASE.glob(f"*/{STATE_FILE}"):
        with contextlib.suppress(OSError, msgspec.DecodeError):
            found.append(
                (path.stat().st_mtime, msgspec.json.decode(path.read_bytes(), type=LabState))
            )
    return [state for _, state in sorted(found, key=lambda item: item[0])]


def find(lab_id: str | None) -> LabState:
    """The lab called `lab_id`, or the only one that is up. Raises UsageError."""
    up = [state for state in labs() if state.owner.alive()]
    meant = [state for state in up if lab_id in (None, state.id)]
    if len(meant) == 1:
        return meant[0]
    known = ", ".join(state.id for state in up) or "none"
    if meant:
        raise UsageError(f"several labs are up: {known}", "say which one with --lab ID")
    wanted = f"no lab {lab_id!r} is up" if lab_id else "no lab is up"
    raise UsageError(f"{wanted} (up: {known})", "start one with `make lab`")


def remove(state: LabState) -> None:
    """End a lab's hosts and delete its files. Only recorded processes are touched."""
    holders = [host.holder for host in state.hosts.values()]
    for holder in holders:
        if holder.alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(holder.pid, signal.SIGKILL)
    deadline = time.monotonic() + GONE_WITHIN
    while any(holder.alive() for holder in holders) and time.monotonic() < deadline:
        time.sleep(0.01)
    delete_folder(state.folder)


def delete_folder(folder: Path) -> None:
    """Delete a lab's folder, and the folder of all labs with the last of them."""
    shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(OSError):
        BASE.rmdir()


def clean() -> list[str]:
    """Remove every lab whose owner is dead; returns their ids."""
    removed = []
    for state in labs():
        if not state.owner.alive():
            remove(state)
            removed.append(state.id)
    for folder in BASE.glob("*"):  # killed before it wrote its first state
        owner = folder.name.partition(".")[0]
        if not (folder / STATE_FILE).exists() and start_time(int(owner, 16)) is None:
            delete_folder(folder)
            removed.append(folder.name)
    return removed
