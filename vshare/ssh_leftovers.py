"""Keys that an ended vshare could not take out of a machine: noted before they go in.

A note is a file in the user's state directory, on disk before the key is in the machine and gone
after it is out. `vshare up` looks for notes whose process is gone (killed, or the host went down)
and takes their keys out. A note holds no secret, and nothing of it is executed.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec
import platformdirs

from tunnel.errors import VshareError
from vshare.authorized_keys import AuthorizedKeys, public_line
from vshare.key_place import KeyPlace, OverSsh, Where
from vshare.machine import SshAccess
from vshare.qemu_agent import QemuAgentKeys
from vshare.ssh_link import SshLink

MAX_NOTE = 16 * 1024  # bytes; a host, some paths, a key
MAX_NOTES = 8  # tried in one run, all at once; the others have their turn in the next
MAX_FILES = 256  # looked at: more of them is not our doing
REMOVE_TIMEOUT_SECONDS = 5.0  # for each; a machine that is off is the usual case
# A key that the machine itself will not end is tried for longer than it was meant to last.
KEEP_SECONDS = 30 * 24 * 3600.0
MAX_HOST = 255  # characters, as RFC 1035 has it
_BOOT = Path("/proc/sys/kernel/random/boot_id")
_START_TIME = 19  # the field's place behind the program's name in /proc/PID/stat (proc(5))

# Told what was done and what failed, one sentence each.
Tell = Callable[[str], None]


class Owner(msgspec.Struct, frozen=True):
    """A process, told from a later one with the same number."""

    pid: int
    started: str  # clock ticks since the host started
    boot: str

    @property
    def is_alive(self) -> bool:
        """Whether this very process still runs."""
        return self.pid > 0 and self == _owner(self.pid)


class Note(msgspec.Struct, frozen=True):
    """One key in one machine."""

    owner: Owner
    where: Where
    line: str  # of authorized_keys: public
    expires_at: float  # seconds since the epoch
    ends_by_itself: bool = False  # the machine was told the time, and keeps to it


@dataclass(slots=True)
class Leftover:
    """The note on a key of ours; blocking calls, of a millisecond or two."""

    where: Where
    line: str
    folder: Path

    @property
    def path(self) -> Path:
        """The note's file, the same for each note on this key."""
        return self.folder / f"{hashlib.sha256(self.line.encode()).hexdigest()[:32]}.json"

    def write(self, expires_at: float, *, ends_by_itself: bool = False) -> None:
        """Put the note on disk, in place of an earlier one. Raises VshareError."""
        note = Note(_owner(os.getpid()), self.where, self.line, expires_at, ends_by_itself)
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _write(self.path, msgspec.json.encode(note))
        except OSError as error:
            raise VshareError(
                f"cannot note the SSH key in {self.folder}: {(error.strerror or '').lower()}",
                "set XDG_STATE_HOME to a directory that you can write to, or share without --ssh",
            ) from error

    def remove(self) -> None:
        """The key is out of the machine. Idempotent."""
        _discard(self.path)


def notes_folder() -> Path:
    """Where the notes are."""
    return platformdirs.user_state_path("vshare", appauthor=False) / "ssh-keys"


async def clean_leftovers(tell: Tell, folder: Path | None = None) -> None:
    """Take keys out of machines whose vshare is gone. Does not raise VshareError.

    Takes at most REMOVE_TIMEOUT_SECONDS. A note whose machine cannot be reached stays until its
    key has ended by itself.
    """
    found = await asyncio.to_thread(_read_all, folder or notes_folder())
    async with asyncio.TaskGroup() as group:
        for path, note in found:
            group.create_task(_clean(path, note, tell), name=f"leftover key in {note.where}")


async def _clean(path: Path, note: Note, tell: Tell) -> None:
    try:
        async with asyncio.timeout(REMOVE_TIMEOUT_SECONDS):
            await _remove(note)
    except (VshareError, TimeoutError) as error:
        if time.time() > note.expires_at + (0 if note.ends_by_itself else KEEP_SECONDS):
            _discard(path)
            return
        reason = error.text if isinstance(error, VshareError) else "it does not answer"
        tell(f"an SSH key of an earlier share is still in {_name(note.where)}: {reason}")
        return
    _discard(path)
    tell(f"removed the SSH key of an earlier share from {_name(note.where)}")


async def _remove(note: Note) -> None:
    where = note.where
    place: KeyPlace
    if isinstance(where, OverSsh):
        known = Path(where.known_hosts) if where.known_hosts else None
        keys = tuple(Path(each) for each in where.key_files)
        access = SshAccess(where.host, where.port, where.user, keys, known_hosts=known)
        async with SshLink(access) as link:
            place = AuthorizedKeys(link)
            await place.remove(note.line)
    else:
        place = QemuAgentKeys(where.domain, where.user)
        await place.remove(note.line)


def _name(where: Where) -> str:
    if isinstance(where, OverSsh):
        return str(SshAccess(where.host, where.port, where.user))
    return f"the domain {where.domain!r}"


def _read_all(folder: Path) -> list[tuple[Path, Note]]:
    """The notes of processes that are gone, the newest first: their machines may still run."""
    found = []
    for _, path in sorted(_files(folder), reverse=True):
        note = _read(path)
        if note is not None and not note.owner.is_alive:
            found.append((path, note))
    return found[:MAX_NOTES]


def _files(folder: Path) -> Iterator[tuple[float, Path]]:
    with suppress(OSError), os.scandir(folder) as entries:  # there may be none
        for _, entry in zip(range(MAX_FILES), entries, strict=False):
            if entry.name.endswith(".json") and entry.is_file(follow_symlinks=False):
                yield entry.stat(follow_symlinks=False).st_mtime, Path(entry.path)


def _read(path: Path) -> Note | None:
    """The note in this file; None for what is none of ours."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        status = os.fstat(file)
        ours = stat.S_ISREG(status.st_mode) and status.st_uid == os.getuid()
        data = os.read(file, MAX_NOTE + 1) if ours else b""
    finally:
        os.close(file)
    try:
        note = msgspec.json.decode(data[: MAX_NOTE + 1], type=Note)
        public_line(note.line)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    return note if len(data) <= MAX_NOTE and _is_sound(note.where) else None


def _is_sound(where: Where) -> bool:
    """Whether SSH can be given this: no option in place of a host, no port that is none."""
    if isinstance(where, OverSsh):
        return 0 < len(where.host) <= MAX_HOST and where.host[0] != "-" and 0 < where.port < 65_536
    return bool(where.domain and where.user)


def _discard(path: Path) -> None:
    with suppress(OSError):  # the next run finds no key there, and tidies up
        path.unlink(missing_ok=True)


def _write(path: Path, data: bytes) -> None:
    """All or nothing, and on disk when it returns."""
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    file = os.open(temporary, flags, 0o600)
    try:
        os.write(file, data)
        os.fsync(file)
    finally:
        os.close(file)
    temporary.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _owner(pid: int) -> Owner:
    """The process that has this number now; no process if there is none."""
    try:
        boot = _BOOT.read_text().strip()
        status = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return Owner(0, "", "")
    fields = status.rpartition(")")[2].split()
    return Owner(pid, fields[_START_TIME] if len(fields) > _START_TIME else "", boot)
