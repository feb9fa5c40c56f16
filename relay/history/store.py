"""Writes a relay's history, and forgets what is old. For one thread at a time.

A batch is few statements, each with many rows: SQLite works through them without Python, so that
the event loop goes on meanwhile. Requests, of which there are most, are bound to them, which costs
a third of what JSON does.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path

import msgspec

from relay.accounting import How
from relay.history.rows import Batch, RequestRow
from relay.history.tables import BUCKET, FILE, open_history

# The most rows that are kept of each, whatever their age: some 400 MB together.
MOST_ROWS = {"sessions": 100_000, "visits": 500_000, "requests": 1_000_000, "traffic": 1_000_000}
FORGET_AT_ONCE = 5_000  # rows, so that nobody waits long for the file
MAX_WAL = 16 * 1024 * 1024  # bytes that the file beside it keeps once they have been moved
BROKEN = f"{FILE}.broken"  # what a file is called that could not be used any more

_ROWS = "FROM json_each(?1) WHERE true"
_ID = "{} + ?2"  # of rows, as they are numbered since the relay's start


def _field(number: int, form: str = "{}") -> str:
    return form.format(f"json_extract(value, '$[{number}]')")


def _fields(*forms: str) -> str:
    return ", ".join(_field(number, form) for number, form in enumerate(forms))


_SESSIONS = (
    "INSERT INTO sessions (id, name, token, http, passthrough, began_at, ended_at, how)"
    f" SELECT {_fields(_ID, *['{}'] * 7)} {_ROWS}"
    " ON CONFLICT (id) DO UPDATE SET ended_at = excluded.ended_at, how = excluded.how"
)
_VISITS = (
    "INSERT INTO visits (id, session, kind, label, source, began_at, ended_at, seconds, received,"
    f" sent) SELECT {_fields(_ID, _ID, *['{}'] * 8)} {_ROWS}"
    " ON CONFLICT (id) DO UPDATE SET ended_at = excluded.ended_at, seconds = excluded.seconds,"
    " received = excluded.received, sent = excluded.sent"
)
_SUMS = ", ".join(
    f"sum({_field(number)}) AS {name}"
    for number, name in enumerate(("received", "sent", "visits", "requests"), 2)
)
_TRAFFIC = (
    "INSERT INTO traffic (session, at, received, sent, visits, requests)"
    f" SELECT {_field(0, _ID)}, CAST({_field(1)} / {BUCKET} AS INTEGER), {_SUMS} {_ROWS}"
    " GROUP BY 1, 2"
    " ON CONFLICT (session, at) DO UPDATE SET received = received + excluded.received,"
    " sent = sent + excluded.sent, visits = visits + excluded.visits,"
    " requests = requests + excluded.requests"
)
_TOTALS = (
    "UPDATE sessions SET received = sessions.received + more.received,"
    " sent = sessions.sent + more.sent, visits = sessions.visits + more.visits,"
    " requests = sessions.requests + more.requests"
    f" FROM (SELECT {_field(0, _ID)} AS session, {_SUMS} {_ROWS} GROUP BY 1) AS more"
    " WHERE sessions.id = more.session"
)


def _requests(rows: int) -> str:
    values = ", ".join(["(?, ?, ?, ?, ?, ?, ?, ?, ?)"] * rows)
    return (
        "INSERT INTO requests (session, visit, at, method, path, status, received, sent, seconds)"
        " SELECT column1 + ?, column2 + ?, column3, column4, column5, column6, column7, column8,"
        f" column9 FROM (VALUES {values})"
    )


MANY = 50  # requests bound to one statement
_MANY_REQUESTS, _ONE_REQUEST = _requests(MANY), _requests(1)


class Store:
    """The history in the state directory `folder`. `base`: where the IDs of rows count from, if it
    was open before. All raise OSError, sqlite3.Error and, of a later vrelay's file, VshareError."""

    def __init__(self, folder: Path, base: int | None = None) -> None:
        self._db = open_history(folder)
        try:
            self._db.execute("PRAGMA synchronous = NORMAL")  # a power cut costs some seconds
            self._db.execute(f"PRAGMA journal_size_limit = {MAX_WAL}")
            if base is None:
                self._end_what_lasted()
            self.base = self._new_base() if base is None else base
        except BaseException:
            self._db.close()
            raise

    def close(self) -> None:
        """Nothing more will be written."""
        self._db.close()

    def write(self, batch: Batch) -> None:
        """All of it, or nothing."""
        with self._transaction():
            self._put(batch.sessions.values(), _SESSIONS)
            self._put(batch.visits.values(), _VISITS)
            self._put_requests(batch.requests)
            self._put(batch.flows, _TRAFFIC, _TOTALS)
            if batch.lasting is not None:
                self._end_all_but(batch.lasting, batch.alive_at)
            if batch.alive_at:
                self._db.execute("REPLACE INTO alive (id, at) VALUES (1, ?)", (batch.alive_at,))

    def forget(self, before: float) -> int:
        """Drop what ended before that time, and the oldest of what is too much, some thousands of
        rows at most; how many there were."""
        old = {"sessions": "ended_at < ?1", "visits": "ended_at < ?1", "requests": "at < ?1"}
        forgotten = 0
        for table, is_old in old.items():
            excess = min(self._excess(table), FORGET_AT_ONCE)
            oldest = f"SELECT id FROM {table}"
            chosen = (
                f"SELECT id FROM ({oldest} WHERE {is_old} ORDER BY id LIMIT {FORGET_AT_ONCE})"
                f" UNION SELECT id FROM ({oldest} ORDER BY id LIMIT ?2)"
            )
            forgotten += self._count(f"DELETE FROM {table} WHERE id IN ({chosen})", before, excess)
        excess = min(self._excess("traffic"), FORGET_AT_ONCE)
        forgotten += self._count(
            "DELETE FROM traffic WHERE (session, at) IN"
            " (SELECT session, at FROM traffic ORDER BY at LIMIT max(?2, min("
            f"{FORGET_AT_ONCE}, (SELECT count(*) FROM traffic WHERE at < ?1))))",
            before // BUCKET,
            excess,
        )
        return forgotten

    def _excess(self, table: str) -> int:
        (count,) = self._db.execute(f"SELECT count(*) FROM {table}").fetchone()
        return max(0, int(count) - MOST_ROWS[table])

    def _count(self, statement: str, *arguments: float) -> int:
        return self._db.execute(statement, arguments).rowcount

    def _put(self, rows: Collection[object], *statements: str) -> None:
        if rows:
            text = msgspec.json.encode(list(rows)).decode()
            for statement in statements:
                self._db.execute(statement, (text, self.base))

    def _put_requests(self, rows: Sequence[RequestRow]) -> None:
        many = len(rows) - len(rows) % MANY
        for begin in range(0, many, MANY):
            values = chain.from_iterable(rows[begin : begin + MANY])
            self._db.execute(_MANY_REQUESTS, (self.base, self.base, *values))
        for row in rows[many:]:
            self._db.execute(_ONE_REQUEST, (self.base, self.base, *row))

    def _new_base(self) -> int:
        """Where this process's IDs count from: no other's are there, neither of one before nor of
        one that still writes while this one takes over. Nobody has a million rows a second."""
        (last,) = self._db.execute(
            "SELECT max(coalesce((SELECT max(id) FROM sessions), 0),"
            " coalesce((SELECT max(id) FROM visits), 0))"
        ).fetchone()
        return max(int(last), time.time_ns() // 1000)

    def _end_what_lasted(self) -> None:
        """When the relay was killed: it was alive for as long as it said so."""
        alive = "max(began_at, coalesce((SELECT at FROM alive), 0))"
        with self._transaction():
            self._db.execute(
                f"UPDATE sessions SET ended_at = {alive}, how = ? WHERE ended_at IS NULL",
                (How.STOPPED,),
            )
            self._db.execute(
                f"UPDATE visits SET ended_at = {alive}, seconds = {alive} - began_at"
                " WHERE ended_at IS NULL"
            )

    def _end_all_but(self, lasting: list[int], at: float) -> None:
        """Rows were left out: of what else has ended, that is known."""
        known = "SELECT value + ?2 FROM json_each(?1)"
        arguments = (msgspec.json.encode(lasting).decode(), self.base, at)
        for table, how in (("sessions", f", how = '{How.LOST}'"), ("visits", "")):
            self._db.execute(
                f"UPDATE {table} SET ended_at = max(began_at, ?3){how}"
                f" WHERE ended_at IS NULL AND id > ?2 AND id NOT IN ({known})",
                arguments,
            )

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        finally:
            if self._db.in_transaction:
                with suppress(sqlite3.Error):
                    self._db.execute("ROLLBACK")


def set_aside(folder: Path) -> None:
    """Of a file that is broken, and what SQLite has beside it: the next begins anew. Raises
    OSError."""
    (folder / FILE).replace(folder / BROKEN)
    for beside in ("-wal", "-shm"):
        (folder / f"{FILE}{beside}").unlink(missing_ok=True)
