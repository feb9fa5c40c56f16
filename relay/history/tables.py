"""The file with a relay's history, and its tables."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from relay.database import Migrations, open_database

FILE = "history.sqlite"
BUCKET = 60  # seconds of traffic that are one row

# Times are seconds since the epoch. What has no end yet lasts, or the relay was killed meanwhile.
MIGRATIONS: Migrations = (
    (
        "CREATE TABLE sessions ("  # of shares
        " id INTEGER PRIMARY KEY,"
        " name TEXT NOT NULL,"
        " token TEXT NOT NULL,"  # its ID; empty: none was needed
        " http INTEGER NOT NULL,"
        " passthrough INTEGER NOT NULL,"
        " began_at REAL NOT NULL,"
        " ended_at REAL,"
        " how TEXT NOT NULL,"  # relay.accounting.How; empty while it lasts
        " received INTEGER NOT NULL DEFAULT 0,"  # bytes, by its visitors
        " sent INTEGER NOT NULL DEFAULT 0,"
        " visits INTEGER NOT NULL DEFAULT 0,"
        " requests INTEGER NOT NULL DEFAULT 0)",
        "CREATE INDEX sessions_by_name ON sessions (name)",
        "CREATE INDEX sessions_by_token ON sessions (token)",
        "CREATE TABLE visits ("
        " id INTEGER PRIMARY KEY,"
        " session INTEGER NOT NULL,"
        " kind TEXT NOT NULL,"  # relay.accounting.Kind
        " label TEXT NOT NULL,"  # of the share's sites
        " source TEXT NOT NULL,"  # an address; empty: not kept
        " began_at REAL NOT NULL,"
        " ended_at REAL,"
        " seconds REAL NOT NULL,"
        " received INTEGER NOT NULL,"  # bytes, by the visitor, so far
        " sent INTEGER NOT NULL)",
        "CREATE INDEX visits_by_session ON visits (session)",
        "CREATE TABLE requests ("
        " id INTEGER PRIMARY KEY,"
        " session INTEGER NOT NULL,"
        " visit INTEGER NOT NULL,"
        " at REAL NOT NULL,"  # when it was over
        " method TEXT NOT NULL,"
        " path TEXT NOT NULL,"  # without the query
        " status INTEGER NOT NULL,"  # 0: no answer
        " received INTEGER NOT NULL,"
        " sent INTEGER NOT NULL,"
        " seconds REAL NOT NULL)",
        "CREATE INDEX requests_by_session ON requests (session)",
        "CREATE TABLE traffic ("
        " session INTEGER NOT NULL,"
        " at INTEGER NOT NULL,"  # in BUCKETs since the epoch
        " received INTEGER NOT NULL,"
        " sent INTEGER NOT NULL,"
        " visits INTEGER NOT NULL,"  # which began then
        " requests INTEGER NOT NULL,"
        " PRIMARY KEY (session, at)) WITHOUT ROWID",
        "CREATE TABLE alive (id INTEGER PRIMARY KEY CHECK (id = 1), at REAL NOT NULL)",
    ),
    (  # for those who put the rows of several relays in order
        "CREATE INDEX sessions_by_time ON sessions (began_at)",
        "CREATE INDEX visits_by_time ON visits (began_at)",
        "CREATE INDEX requests_by_time ON requests (at)",
    ),
)


def open_history(folder: Path) -> sqlite3.Connection:
    """The database in the state directory `folder`, to be written by the relay alone. Raises
    OSError, sqlite3.Error, VshareError."""
    return open_database(folder / FILE, MIGRATIONS)
