"""Which share's key a name belongs to, kept across restarts (docs/protocol.md 4)."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from relay.operation.events import Event, tell
from tunnel.names import ShareName, make_name

HELD_AFTER = 7 * 86_400.0  # seconds after its lease in which nobody else gets a name
GONE_FOR = 3600.0  # seconds that a site which has ended is told from one that never was
DRAWS = 20  # tries to draw a free name; 14 million exist
# Names that are held at once: a key has one or two, of a share that was renamed; an account has
# those of all its people.
MAX_OF_KEY = 64
MAX_OF_ACCOUNT = 1_000
BUSY_WITHIN = 2.0  # seconds that another process may hold the database

_SCHEMA = """
CREATE TABLE IF NOT EXISTS names (
    name TEXT PRIMARY KEY,
    key_hash BLOB NOT NULL,
    lease_until REAL NOT NULL,
    route TEXT NOT NULL DEFAULT '',
    http INTEGER NOT NULL DEFAULT 1,
    passthrough INTEGER NOT NULL DEFAULT 0,
    public_until REAL NOT NULL DEFAULT 0,
    account INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID
"""
_COLUMNS = {  # later than the table: an older file gets them
    "route": "TEXT NOT NULL DEFAULT ''",
    "http": "INTEGER NOT NULL DEFAULT 1",
    "passthrough": "INTEGER NOT NULL DEFAULT 0",
    "public_until": "REAL NOT NULL DEFAULT 0",
    "account": "INTEGER NOT NULL DEFAULT 0",
}
_INDEX = "CREATE INDEX IF NOT EXISTS names_by_route ON names (route) WHERE route <> ''"
_HOLDERS = (
    "CREATE INDEX IF NOT EXISTS names_by_key ON names (key_hash)",
    "CREATE INDEX IF NOT EXISTS names_by_account ON names (account) WHERE account <> 0",
)
_FIELDS = "name, key_hash, lease_until, route, http, passthrough, public_until, account"
_ALL = f"SELECT {_FIELDS} FROM names"
_PUT = f"INSERT OR REPLACE INTO names ({_FIELDS}) VALUES (?,?,?,?,?,?,?,?)"

log = logging.getLogger(__name__)


class NameRow(NamedTuple):
    """All that the book has of one name; times are seconds since the epoch."""

    name: ShareName
    key_hash: bytes
    lease_until: float
    route: str = ""
    http: bool = True
    passthrough: bool = False
    public_until: float = 0.0
    account: int = 0


def _prepare(database: sqlite3.Connection) -> None:
    """Make the table, or bring an older one up to date."""
    database.execute(_SCHEMA)
    there = {row[1] for row in database.execute("PRAGMA table_info(names)")}
    for column, kind in _COLUMNS.items():
        if column not in there:
            database.execute(f"ALTER TABLE names ADD COLUMN {column} {kind}")
    for index in (_INDEX, *_HOLDERS):
        database.execute(index)


class NameBook:
    """Names and their owners. Times are seconds since the epoch, given by the caller.

    A file that cannot be written (the disk is full, or read-only) stops nobody: from then on the
    book is kept in memory, and `recover` brings it back to disk when that is possible again.
    """

    def __init__(self, path: Path | None) -> None:
        if path is not None:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._disk: sqlite3.Connection | None = None  # while the book is kept in memory
        self._is_handed_over = False
        self._db = sqlite3.connect(path or ":memory:", timeout=BUSY_WITHIN, isolation_level=None)
        try:
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            _prepare(self._db)
        except sqlite3.DatabaseError as error:
            self._move_to_memory(error)

    def __enter__(self) -> NameBook:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.recover()
        self._db.close()
        if self._disk is not None:
            self._disk.close()

    @property
    def is_on_disk(self) -> bool:
        """Whether it is kept where it should be, and not in memory for want of a disk."""
        return self._disk is None

    def hand_over(self) -> None:
        """Another process keeps the book from now on: what is in memory alone is written, if it can
        be, and nothing later over what that one writes."""
        self.recover()
        self._is_handed_over = True

    def recover(self) -> None:
        """Go on in the file, if the book is in memory and can be written again."""
        if self._disk is None or self._is_handed_over:
            return
        names = self._db.execute(_ALL).fetchall()
        try:
            self._disk.execute("BEGIN IMMEDIATE")
            _prepare(self._disk)
            self._disk.executemany(_PUT, names)
            self._disk.execute("COMMIT")
        except sqlite3.DatabaseError:
            with contextlib.suppress(sqlite3.Error):
                self._disk.execute("ROLLBACK")
            return
        self._db.close()
        self._db, self._disk = self._disk, None
        tell(log, logging.WARNING, Event.NAMES_ON_DISK, "the names are kept on disk again")

    def _move_to_memory(self, error: sqlite3.Error) -> None:
        text = f"the names cannot be kept on disk ({error}): in memory until they can"
        tell(log, logging.WARNING, Event.NAMES_IN_MEMORY, text)
        memory = sqlite3.connect(":memory:", isolation_level=None)
        _prepare(memory)
        with contextlib.suppress(sqlite3.DatabaseError):  # a new file, or not even readable
            memory.executemany(_PUT, self._db.execute(_ALL).fetchall())
        self._db, self._disk = memory, self._db

    def _write(self, statement: str, values: tuple[object, ...]) -> int:
        """Change the book; the number of names that were changed."""
        try:
            return self._db.execute(statement, values).rowcount
        except sqlite3.DatabaseError as error:
            if self._disk is not None:
                raise
            self._move_to_memory(error)
            return self._db.execute(statement, values).rowcount

    def claim(
        self,
        name: ShareName,
        key_hash: bytes,
        now: float,
        until: float,
        *,
        route: str = "",
        http: bool = True,
        passthrough: bool = False,
        account: int = 0,
        by_right: bool = False,
    ) -> bool:
        """Lease `name` to the key until `until`; False if it is another key's, or another account's
        (0: there are none), unless `by_right`: then it is taken from them.

        `route` is where its guests find it, `http` whether it has a public URL, `passthrough`
        whether browsers' TLS ends at the share: all are of use while the share is away.
        """
        # A share without a URL takes over when the one before it had its URL: nobody can tell.
        changed = self._write(
            f"INSERT INTO names ({_FIELDS}) VALUES (?1, ?2, ?3, ?5, ?6, ?7, ?8, ?10)"
            " ON CONFLICT (name) DO UPDATE"
            " SET key_hash = ?2, lease_until = ?3, route = ?5, http = ?6, passthrough = ?7,"
            " public_until = max(?8, min(public_until, ?9)), account = ?10"
            " WHERE (key_hash = ?2 AND (account = ?10 OR account = 0 OR ?10 = 0))"
            " OR lease_until < ?4 OR ?11",
            (
                name,
                key_hash,
                until,
                now - HELD_AFTER,
                route,
                http,
                passthrough,
                until if http else 0.0,
                now,
                account,
                by_right,
            ),
        )
        return changed > 0

    def adopt(self, row: NameRow) -> None:
        """Have a name as somebody else has it who decides."""
        self._write(_PUT, row)

    def rows(self) -> list[NameRow]:
        """All names that are here."""
        return [
            NameRow(ShareName(name), key, until, route, bool(http), bool(through), public, account)
            for name, key, until, route, http, through, public, account in self._db.execute(_ALL)
        ]

    def draw(
        self,
        key_hash: bytes,
        now: float,
        until: float,
        below: Callable[[int], int],
        *,
        route: str = "",
        http: bool = True,
        passthrough: bool = False,
        account: int = 0,
        may_have: Callable[[ShareName], bool] = lambda name: True,
    ) -> ShareName | None:
        """Lease a fresh name to the key; None in the unlikely case that none is free."""
        for _ in range(DRAWS):
            name = make_name(below)
            taken = self._db.execute("SELECT 1 FROM names WHERE name = ?", (name,)).fetchone()
            if taken or not may_have(name):
                continue
            if self.claim(
                name,
                key_hash,
                now,
                until,
                route=route,
                http=http,
                passthrough=passthrough,
                account=account,
            ):
                return name
        return None

    def holds_too_many(self, key_hash: bytes, account: int) -> bool:
        """Whether the key, or the account (0: there are none), holds as many names as one may."""
        (of_key, of_account) = self._db.execute(
            "SELECT (SELECT count(*) FROM names WHERE key_hash = ?),"
            " (SELECT count(*) FROM names WHERE account = ? AND account <> 0)",
            (key_hash, account),
        ).fetchone()
        return bool(of_key >= MAX_OF_KEY or of_account >= MAX_OF_ACCOUNT)

    def is_held(self, name: ShareName, key_hash: bytes) -> bool:
        """Whether `name` is the key's already."""
        found = self._db.execute(
            "SELECT 1 FROM names WHERE name = ? AND key_hash = ?", (name, key_hash)
        )
        return found.fetchone() is not None

    def is_anothers_route(self, route: str, key_hash: bytes) -> bool:
        """Whether `route` is held for another key: a guest who was told it may not take it."""
        found = self._db.execute(
            "SELECT 1 FROM names WHERE route = ? AND route <> '' AND key_hash <> ?",
            (route, key_hash),
        )
        return found.fetchone() is not None

    def extend(self, name: ShareName, key_hash: bytes, until: float) -> None:
        """The key's lease of `name` ends at `until`, sooner or later than before."""
        self._write(
            "UPDATE names SET lease_until = ?1,"
            " public_until = CASE WHEN http THEN ?1 ELSE public_until END"
            " WHERE name = ?2 AND key_hash = ?3",
            (until, name, key_hash),
        )

    def is_route_leased(self, route: str, now: float) -> bool:
        """Whether the lease of the share with `route` lasts, connected or not."""
        found = self._db.execute(
            "SELECT 1 FROM names WHERE route = ? AND route <> '' AND lease_until > ?", (route, now)
        )
        return found.fetchone() is not None

    def has_http(self, name: ShareName) -> bool:
        """Whether the share of that name, connected or not, said that it has a public URL."""
        found = self._db.execute("SELECT 1 FROM names WHERE name = ? AND http", (name,))
        return found.fetchone() is not None

    def has_passthrough(self, name: ShareName) -> bool:
        """Whether the share of that name, connected or not, ends browsers' TLS itself."""
        found = self._db.execute("SELECT 1 FROM names WHERE name = ? AND passthrough", (name,))
        return found.fetchone() is not None

    def is_gone(self, name: ShareName, now: float) -> bool:
        """Whether a site of that name has ended, within GONE_FOR: whatever is there now without a
        public URL."""
        found = self._db.execute(
            "SELECT 1 FROM names WHERE name = ? AND public_until <= ? AND public_until > ?",
            (name, now, now - GONE_FOR),
        )
        return found.fetchone() is not None

    def is_leased(self, name: ShareName, now: float) -> bool:
        """Whether somebody's lease of `name` lasts, connected or not."""
        found = self._db.execute(
            "SELECT 1 FROM names WHERE name = ? AND lease_until > ?", (name, now)
        )
        return found.fetchone() is not None

    def end_lease(self, name: ShareName, now: float) -> None:
        """The share has ended; its key keeps the right to the name for HELD_AFTER."""
        self._write(
            "UPDATE names SET lease_until = min(lease_until, ?1),"
            " public_until = min(public_until, ?1) WHERE name = ?2",
            (now, name),
        )

    def forget_old(self, now: float) -> None:
        """Drop names that nobody has a right to any more."""
        self._write("DELETE FROM names WHERE lease_until < ?", (now - HELD_AFTER,))
