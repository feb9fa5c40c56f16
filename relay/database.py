"""A file of tables in the relay's state directory, and how an older one is brought up to date."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from tunnel.errors import VshareError

ROOT = 0
BUSY_WITHIN = 5.0  # seconds that another process may hold the database

# Each brings the tables one version further; what is there stays as it is, more is added below.
Migrations = Sequence[Sequence[str]]


def open_database(path: Path, migrations: Migrations) -> sqlite3.Connection:
    """The database in the file `path`, made or brought up to date.

    It may be used by one thread after another, and other processes read it meanwhile. Raises
    OSError, sqlite3.Error, and VshareError for a later vrelay's file.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    _make_file(path)
    database = sqlite3.connect(
        path, timeout=BUSY_WITHIN, isolation_level=None, check_same_thread=False
    )
    try:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA foreign_keys = ON")
        _migrate(database, path, migrations)
    except BaseException:
        database.close()
        raise
    return database


def _migrate(database: sqlite3.Connection, path: Path, migrations: Migrations) -> None:
    """All or nothing, whoever else does it now. Raises VshareError for a later vrelay's file."""
    if _version(database) == len(migrations):
        return  # nearly always: nothing is written
    database.execute("BEGIN IMMEDIATE")
    try:
        version = _version(database)
        if version > len(migrations):
            raise VshareError(
                f"{path} is of a later vrelay: version {version}, known are {len(migrations)}",
                "update vrelay, or choose another --state-dir",
            )
        for statements in migrations[version:]:
            for statement in statements:
                database.execute(statement)
        database.execute(f"PRAGMA user_version = {len(migrations)}")
        database.execute("COMMIT")
    finally:
        if database.in_transaction:
            with suppress(sqlite3.Error):
                database.execute("ROLLBACK")


def _version(database: sqlite3.Connection) -> int:
    (version,) = database.execute("PRAGMA user_version").fetchone()
    assert isinstance(version, int)  # whatever is in the file
    return version


def _make_file(path: Path) -> None:
    """SQLite gives the files beside it (-wal, -shm) its mode, and as root its owner, too."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if os.geteuid() == ROOT:  # a file of root's would keep out a relay that runs as another
            owner = path.parent.stat()
            os.fchown(file, owner.st_uid, owner.st_gid)
    finally:
        os.close(file)
