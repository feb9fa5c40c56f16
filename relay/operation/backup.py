"""A copy of a relay's state directory, made while the relay runs: names, accounts, history, keys.

A database is copied as SQLite does it (its online backup), whole and as it was at one moment;
other files, which are replaced in one step whenever they change, as they are.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tunnel.errors import VshareError

_SQLITE = b"SQLite format 3\0"  # what such a file begins with
_BESIDE = ("-wal", "-shm", "-journal")  # of a database: what the backup has in it already
BUSY_WITHIN = 10.0  # seconds that another process may hold a database for itself


def back_up(folder: Path, target: Path) -> list[str]:
    """Write all of `folder` to a tar archive (mode 0600) at `target`, which was not there; the
    names of what is in it. Raises VshareError."""
    try:
        files = [path.relative_to(folder) for path in _files(folder)]
        if not files:
            raise VshareError(
                f"there is nothing in {folder}", "give the relay's state directory: --state-dir"
            )
        with _made_in_one_step(target) as archive:
            for name in files:
                _add(archive, folder / name, str(name), target.parent)
    except FileExistsError:
        raise VshareError(f"{target} is there already", "give another name") from None
    except (OSError, sqlite3.Error, tarfile.TarError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise VshareError(
            f"no backup of {folder} to {target}: {reason}",
            "run it as the user whom the relay runs as",
        ) from error
    return [str(name) for name in files]


def _files(folder: Path) -> Iterator[Path]:
    """Regular files alone: sockets and locks are the running relay's."""
    found = sorted(folder.rglob("*"))
    databases = {path for path in found if path.is_file() and _is_database(path)}
    for path in found:
        if not stat.S_ISREG(path.lstat().st_mode):
            continue
        beside = {path.with_name(path.name.removesuffix(end)) for end in _BESIDE}
        if not beside - {path} & databases:
            yield path


def _is_database(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_SQLITE)) == _SQLITE


@contextlib.contextmanager
def _made_in_one_step(target: Path) -> Iterator[tarfile.TarFile]:
    """An archive that is at `target` when the block has ended well, and not at all otherwise."""
    if target.exists():
        raise FileExistsError
    beginning = f".{target.name}."
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=beginning)  # mode 0600
    try:
        with open(handle, "wb") as file:
            with tarfile.open(fileobj=file, mode="w") as archive:
                yield archive
            file.flush()
            os.fsync(file.fileno())
        os.link(name, target)  # fails where there is one by now
    finally:
        os.unlink(name)


def _add(archive: tarfile.TarFile, path: Path, name: str, scratch: Path) -> None:
    if not _is_database(path):
        archive.add(path, name, recursive=False)
        return
    handle, copy = tempfile.mkstemp(dir=scratch, prefix=".backup-")
    os.close(handle)
    try:
        with (
            contextlib.closing(sqlite3.connect(path, timeout=BUSY_WITHIN)) as source,
            contextlib.closing(sqlite3.connect(copy)) as into,
        ):
            source.backup(into)
        archive.add(copy, name, recursive=False)
    finally:
        os.unlink(copy)
