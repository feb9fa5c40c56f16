"""The file with the relay's accounts, and its tables."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from relay.database import Migrations, open_database
from tunnel.errors import VshareError

FILE = "accounts.sqlite"
MIGRATIONS: Migrations = (
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
    (  # relay/accounts/limits.py: NULL is the relay's default, 0 no limit
        "ALTER TABLE tokens ADD COLUMN guests INTEGER",
        "ALTER TABLE tokens ADD COLUMN streams INTEGER",
        "ALTER TABLE tokens ADD COLUMN bytes_per_day INTEGER",
        "ALTER TABLE tokens ADD COLUMN bandwidth INTEGER",
        "ALTER TABLE users ADD COLUMN shares INTEGER",
        "ALTER TABLE users ADD COLUMN guests INTEGER",
        "ALTER TABLE users ADD COLUMN streams INTEGER",
        "ALTER TABLE users ADD COLUMN bytes_per_day INTEGER",
        "ALTER TABLE users ADD COLUMN bandwidth INTEGER",
        "CREATE TABLE usage ("
        " day INTEGER NOT NULL,"  # since the epoch, in UTC
        " holder TEXT NOT NULL,"  # relay/accounts/quotas.py
        " bytes INTEGER NOT NULL,"
        " PRIMARY KEY (day, holder)) WITHOUT ROWID",
        "CREATE TABLE reserved_names ("
        " name TEXT PRIMARY KEY,"  # or what names begin with, and *
        " user_id INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,"
        " created_at REAL NOT NULL) WITHOUT ROWID",
        "CREATE TABLE bans ("
        " kind TEXT NOT NULL,"  # relay/accounts/bans.py
        " what TEXT NOT NULL,"
        " reason TEXT NOT NULL,"
        " until REAL,"  # NULL: for ever
        " created_at REAL NOT NULL,"
        " PRIMARY KEY (kind, what)) WITHOUT ROWID",
    ),
    (  # relay/accounts/revocations.py: of other relays' tokens, too
        "CREATE TABLE revocations ( token TEXT PRIMARY KEY, at REAL NOT NULL) WITHOUT ROWID",
        "INSERT INTO revocations (token, at)"
        " SELECT id, revoked_at FROM tokens WHERE revoked_at IS NOT NULL",
    ),
)


def open_accounts(folder: Path) -> sqlite3.Connection:
    """The database in the state directory `folder`, made or brought up to date.

    It may be used by one thread after another. Times in it are seconds since the epoch. Raises
    VshareError.
    """
    try:
        return open_database(folder / FILE, MIGRATIONS)
    except (OSError, sqlite3.Error) as error:
        raise unusable(folder, error) from error


def unusable(folder: Path, error: Exception) -> VshareError:
    """That the accounts in `folder` cannot be used, because of `error`."""
    return VshareError(
        f"the accounts in {folder} cannot be used: {error}",
        "run it as the user whom the relay runs as, or choose another --state-dir",
    )
