"""The file with the relay's accounts: its tables, and how an older file is brought up to date."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from tunnel.errors import VshareError

FILE = "accounts.sqlite"
ROOT = 0
BUSY_WITHIN = 5.0  # seconds that another process may hold the database

# Each brings the tables one version further; what is here stays as it is, more is added below.
MIGRATIONS: Sequence[Sequence[str]] = (
    (
        "CREATE TABLE users ("
        " id INTEGER PRIMARY KEY AUTOINCREMENT,"  # an account that is gone has no successor
        " name TEXT NOT NULL UNIQUE,"
        " created_at REAL NOT NULL)",
        "CREATE TABLE tokens ("
        " id TEXT PRIMARY KEY,"
        " user_id INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,"
        " hash BLOB NOT NULL,"
        " scopes TEXT NOT NULL,"  # words, with spaces between them
        " shares INTEGER,"  # at once; NULL: as many as the relay takes
        " note TEXT NOT NULL,"
        " created_at REAL NOT NULL,"
        " expires_at REAL,"  # NULL: never
        " revoked_at REAL"
        ") WITHOUT ROWID",
        "CREATE INDEX tokens_by_user ON tokens (user_id)",
    ),
)


def open_accounts(folder: Path) -> sqlite3.Connection:
    """The database in the state directory `folder`, made or brought up to date.

    It may be used by one thread after another. Times in it are seconds since the epoch. Raises
    VshareError.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = folder / FILE
        _make_file(path)
        database = sqlite3.connect(
            path, timeout=BUSY_WITHIN, isolation_level=None, check_same_thread=False
        )
    except (OSError, sqlite3.Error) as error:
        raise unusable(folder, error) from error
    try:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA foreign_keys = ON")
        _migrate(database, path)
    except sqlite3.Error as error:
        database.close()
        raise unusable(folder, error) from error
    except BaseException:
        database.close()
        raise
    return database


def _migrate(database: sqlite3.Connection, path: Path) -> None:
    """All or nothing, whoever else does it now. Raises VshareError for a later vrelay's file."""
    if _version(database) == len(MIGRATIONS):
        return  # nearly always: nothing is written
    database.execute("BEGIN IMMEDIATE")
    try:
        version = _version(database)
        if version > len(MIGRATIONS):
            raise VshareError(
                f"{path} is of a later vrelay: version {version}, known are {len(MIGRATIONS)}",
                "update vrelay, or choose another --state-dir",
            )
        for statements in MIGRATIONS[version:]:
            for statement in statements:
                database.execute(statement)
        database.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
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


def unusable(folder: Path, error: Exception) -> VshareError:
    """That the accounts in `folder` cannot be used, because of `error`."""
    return VshareError(
        f"the accounts in {folder} cannot be used: {error}",
        "run it as the user whom the relay runs as, or choose another --state-dir",
    )
