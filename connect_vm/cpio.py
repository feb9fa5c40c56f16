"""The newc archive that Linux unpacks as its first file system (`initramfs`). Pure.

Written here, not by cpio(1), so that ownership, device nodes and times are header fields that
need no privilege and never differ between two builds. Source: the kernel's
Documentation/driver-api/early-userspace/buffer-format.rst. Archives may follow each other when
each starts on a multiple of 4 bytes.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable
from dataclasses import dataclass

MAGIC = b"070701"
TRAILER = "TRAILER!!!"
ALIGNMENT = 4  # headers and bodies start on multiples of this


@dataclass(frozen=True, slots=True)
class Entry:
    """One file, last changed at the epoch.

    `path` has no leading slash. `mode` holds type and permissions, as in stat(2). `data` is a
    file's content or a link's target. `device` is (major, minor) of a device node. `owner` is
    user and group.
    """

    path: str
    mode: int
    data: bytes = b""
    device: tuple[int, int] = (0, 0)
    owner: int = 0


def directory(path: str, permissions: int = 0o755, owner: int = 0) -> Entry:
    """A directory; list it before what it contains."""
    return Entry(path, stat.S_IFDIR | permissions, owner=owner)


def regular(path: str, data: bytes, permissions: int = 0o644, owner: int = 0) -> Entry:
    """A file with this content."""
    return Entry(path, stat.S_IFREG | permissions, data, owner=owner)


def symlink(path: str, target: str) -> Entry:
    """A symbolic link to `target`."""
    return Entry(path, stat.S_IFLNK | 0o777, target.encode())


def character_device(path: str, major: int, minor: int, permissions: int = 0o600) -> Entry:
    """A character device node."""
    return Entry(path, stat.S_IFCHR | permissions, device=(major, minor))


def archive(entries: Iterable[Entry]) -> bytes:
    """The archive of `entries` in the order given, with its trailer, padded to ALIGNMENT."""
    parts: list[bytes] = []
    for number, entry in enumerate(entries, start=1):
        parts += _record(number, entry)
    parts += _record(0, Entry(TRAILER, 0))
    return b"".join(parts)


def _record(number: int, entry: Entry) -> Iterable[bytes]:
    name = entry.path.encode() + b"\0"
    links = 2 if stat.S_ISDIR(entry.mode) else 1
    owner = (entry.owner, entry.owner)
    fields = (number, entry.mode, *owner, links, 0, len(entry.data), 0, 0, *entry.device)
    header = MAGIC + b"".join(b"%08X" % field for field in (*fields, len(name), 0)) + name
    yield header + _padding(header)
    yield entry.data + _padding(entry.data)


def _padding(data: bytes) -> bytes:
    return b"\0" * (-len(data) % ALIGNMENT)
