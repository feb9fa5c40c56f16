"""A relay's history, read: by `vrelay history` and by the relay's pages, while it is written.

Each call reads the disk: in an event loop, call it in a thread. A reader is for one thread at a
time. Whoever may see only what is theirs gets a reader for their tokens: no method of that shows
anything else, whatever IDs it is given.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from relay.history.tables import BUCKET, FILE, MIGRATIONS
from tunnel.errors import VshareError

MAX_ROWS = 1_000  # per call; more are on the next page
MAX_POINTS = 2_000  # of a graph
MAX_SEARCH = 200  # characters
BUSY_WITHIN = 5.0  # seconds that the writer may be in the way: hardly ever, with WAL


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which rows; each field that is set narrows them. Times are seconds since the epoch.

    `search` is a text in the name, a source, a path, a method or a token's ID, whatever there is,
    in capitals or not. `lasting`: what has no end yet, or has one. `status` is its first digit.
    """

    session: int | None = None
    name: str = ""
    kind: str = ""  # relay.accounting.Kind
    search: str = ""
    since: float | None = None
    until: float | None = None
    lasting: bool | None = None
    status: int | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """The newest rows first: `limit` of those with an ID below `before`, the last one's of the
    page before; None: the first page.

    Several relays' rows have no order by their IDs: `by_time` they are in that of when they were
    (a session or a visit: began), and then of their IDs; `below`, in that order.
    """

    before: int | None = None
    limit: int = 50
    by_time: bool = False
    below: tuple[float, int] | None = None


@dataclass(frozen=True, slots=True)
class SessionEntry:
    """A share's session, from its registration to its end. Bytes are its visitors': `received`
    went to them."""

    id: int
    name: str
    token: str  # its ID; empty: none was needed
    http: bool
    passthrough: bool  # browsers' TLS ends at the share
    began_at: float
    ended_at: float | None  # None: it lasts
    how: str  # relay.accounting.How; empty while it lasts
    received: int
    sent: int
    visits: int
    requests: int


@dataclass(frozen=True, slots=True)
class VisitEntry:
    """One connection of a visitor's."""

    id: int
    session: int
    name: str  # of the share
    kind: str  # relay.accounting.Kind
    label: str  # of the share's sites; empty: its own
    source: str  # an address; empty: it is not kept
    began_at: float
    ended_at: float | None  # None: it lasts, and the bytes are some up to a minute old
    seconds: float
    received: int
    sent: int


@dataclass(frozen=True, slots=True)
class RequestEntry:
    """One HTTP request. `path` is without its query, and has nothing unprintable in it."""

    id: int
    session: int
    visit: int
    name: str  # of the share
    label: str
    source: str
    at: float
    method: str
    path: str
    status: int  # 0: no answer came
    received: int
    sent: int
    seconds: float


@dataclass(frozen=True, slots=True)
class TrafficPoint:
    """What was in the time from `at` on, for as long as was asked for."""

    at: float
    received: int
    sent: int
    visits: int  # that began
    requests: int


@dataclass(frozen=True, slots=True)
class Event:
    """Something on a share's time line; `what` is `began`, `ended` or `join`, `detail` how it
    ended, or the source of who joined."""

    at: float
    session: int
    name: str
    what: str
    detail: str


class HistoryReader:
    """See the module. All raise VshareError."""

    def __init__(self, database: sqlite3.Connection, tokens: Collection[str] | None) -> None:
        self._db = database
        self._tokens = None if tokens is None else json.dumps(sorted(tokens))

    def sessions(
        self,
        wanted: Wanted = Wanted(),
        page: Page = Page(),
    ) -> list[SessionEntry]:
        """Shares' sessions; `since` and `until` are those that lasted some of that time."""
        where = self._where(wanted, "sessions.id", page)
        where.add_time("began_at", "coalesce(ended_at, 1e18)", wanted)
        where.add_search(wanted.search, "name", "token")
        order = _last("sessions.id", "began_at", page)
        rows = self._all(f"SELECT {_SESSION} FROM sessions {where} {order}", where)
        return [_session(row) for row in rows]

    def session(self, id_: int) -> SessionEntry | None:
        """The one with that ID."""
        return next(iter(self.sessions(Wanted(session=id_), Page(limit=1))), None)

    def visits(
        self,
        wanted: Wanted = Wanted(),
        page: Page = Page(),
    ) -> list[VisitEntry]:
        """Visitors' connections; `since` and `until` are those that lasted some of that time."""
        where = self._where(wanted, "visits.id", page)
        where.add_time("visits.began_at", "coalesce(visits.ended_at, 1e18)", wanted)
        where.add_search(wanted.search, "name", "source", "visits.label")
        rows = self._all(
            "SELECT visits.id, session, name, kind, label, source, visits.began_at,"
            " visits.ended_at, seconds, visits.received, visits.sent FROM visits"
            f" JOIN sessions ON sessions.id = session {where}"
            f" {_last('visits.id', 'visits.began_at', page)}",
            where,
        )
        return [VisitEntry(*row) for row in rows]

    def requests(
        self,
        wanted: Wanted = Wanted(),
        page: Page = Page(),
    ) -> list[RequestEntry]:
        """HTTP requests."""
        where = self._where(wanted, "requests.id", page)
        where.add_time("at", "at", wanted)
        where.add_search(wanted.search, "name", "source", "path", "method")
        rows = self._all(
            "SELECT requests.id, requests.session, visit, name, coalesce(label, ''),"
            " coalesce(source, ''), at, method, path, status, requests.received, requests.sent,"
            " requests.seconds FROM requests JOIN sessions ON sessions.id = requests.session"
            f" LEFT JOIN visits ON visits.id = visit {where}"
            f" {_last('requests.id', 'at', page)}",
            where,
        )
        return [RequestEntry(*row) for row in rows]

    def traffic(self, wanted: Wanted, seconds: int) -> list[TrafficPoint]:
        """Of some shares together, from `since` to `until`, in steps of `seconds` (of BUCKETs),
        the oldest first; steps in which nothing was are left out."""
        step = max(1, -(-seconds // BUCKET))
        where = self._where(wanted, "sessions.id", Page(limit=MAX_POINTS))
        if wanted.since is not None:
            where.add("at >= ?", int(wanted.since // BUCKET))
        if wanted.until is not None:
            where.add("at < ?", -int(-wanted.until // BUCKET))
        rows = self._all(
            f"SELECT at / {step} * {step * BUCKET}, sum(traffic.received), sum(traffic.sent),"
            " sum(traffic.visits), sum(traffic.requests) FROM traffic"
            f" JOIN sessions ON sessions.id = traffic.session {where}"
            " GROUP BY 1 ORDER BY 1 DESC LIMIT ?",
            where,
        )
        return [TrafficPoint(*row) for row in reversed(rows)]

    def events(self, wanted: Wanted, limit: int = 100) -> list[Event]:
        """A time line, the newest first: the next page is `until` the last one's time."""
        where = self._where(wanted, "sessions.id", Page(limit=limit))
        # Each part has the same restrictions: of time, that of its own.
        parts = [
            (f"began_at AS at, sessions.id, name, 'began', '' FROM sessions {where}", "began_at"),
            (
                f"ended_at, sessions.id, name, 'ended', how FROM sessions {where}",
                "coalesce(ended_at, 1e18)",
            ),
            (
                "visits.began_at, sessions.id, name, 'join', source FROM visits"
                f" JOIN sessions ON sessions.id = session {where} AND kind = 'join'",
                "visits.began_at",
            ),
        ]
        since, until = wanted.since or 0.0, min(wanted.until or 1e17, 1e17)
        arguments: list[object] = []
        for _ in parts:
            arguments += [*where.arguments[:-1], since, until]
        query = " UNION ALL ".join(
            f"SELECT {part} AND {at} >= ? AND {at} < ?" for part, at in parts
        )
        rows = self._query(
            f"{query} ORDER BY at DESC, 2 DESC LIMIT ?", [*arguments, where.arguments[-1]]
        )
        return [Event(*row) for row in rows]

    def names(self, limit: int = MAX_ROWS) -> list[str]:
        """Of all shares that there were, the latest first."""
        where = self._where(Wanted(), "sessions.id", Page(limit=limit))
        return [
            row[0]
            for row in self._all(
                f"SELECT name FROM sessions {where} GROUP BY name ORDER BY max(id) DESC LIMIT ?",
                where,
            )
        ]

    def _where(self, wanted: Wanted, key: str, page: Page) -> _Where:
        table = key.partition(".")[0]
        where = _Where(max(1, min(page.limit, MAX_ROWS)))
        if self._tokens is not None:
            where.add("token IN (SELECT value FROM json_each(?))", self._tokens)
        if page.before is not None:
            where.add(f"{key} < ?", page.before)
        if page.below is not None:
            at = "requests.at" if table == "requests" else f"{table}.began_at"
            where.add(f"({at}, {key}) < (?, ?)", *page.below)
        if wanted.session is not None:
            where.add("sessions.id = ?", wanted.session)
        if wanted.name:
            where.add("name = ?", wanted.name)
        if wanted.kind and table != "sessions":
            where.add("kind = ?", wanted.kind)
        if wanted.lasting is not None and table != "requests":
            where.add(f"({table}.ended_at IS NULL) = ?", wanted.lasting)
        if wanted.status is not None and table == "requests":
            where.add("status / 100 = ?", wanted.status)
        return where

    def _all(self, query: str, where: _Where) -> list[Any]:
        return self._query(query, where.arguments)

    def _query(self, query: str, arguments: list[object]) -> list[Any]:
        try:
            return self._db.execute(query, arguments).fetchall()
        except sqlite3.Error as error:
            raise _unreadable(error) from error


class _Where:
    """Restrictions, and what stands for their question marks; the limit is the last."""

    def __init__(self, limit: int) -> None:
        self._terms = ["1"]
        self._values: list[object] = []
        self._limit = limit

    def add(self, term: str, *values: object) -> None:
        self._terms.append(term)
        self._values += values

    def add_time(self, begin: str, end: str, wanted: Wanted) -> None:
        # The plus: rows come in the order of their IDs, without being sorted.
        if wanted.since is not None:
            self.add(f"+{end} >= ?", wanted.since)
        if wanted.until is not None:
            self.add(f"+{begin} < ?", wanted.until)

    def add_search(self, text: str, *columns: str) -> None:
        if text:
            pattern = like(text[:MAX_SEARCH])
            terms = " OR ".join(rf"{column} LIKE ? ESCAPE '\'" for column in columns)
            self.add(f"({terms})", *[pattern] * len(columns))

    @property
    def arguments(self) -> list[object]:
        return [*self._values, self._limit]

    def __str__(self) -> str:
        return f"WHERE {' AND '.join(self._terms)}"


_SESSION = (
    "id, name, token, http, passthrough, began_at, ended_at, how, received, sent, visits, requests"
)


def like(text: str) -> str:
    r"""The pattern (LIKE ... ESCAPE '\') of texts that have `text` in them."""
    for special in ("\\", "%", "_"):
        text = text.replace(special, f"\\{special}")
    return f"%{text}%"


def _last(key: str, at: str, page: Page) -> str:
    return f"ORDER BY {f'{at} DESC, ' * page.by_time}{key} DESC LIMIT ?"


def _session(row: tuple[Any, ...]) -> SessionEntry:
    id_, name, token, http, passthrough, *rest = row
    return SessionEntry(id_, name, token, bool(http), bool(passthrough), *rest)


def _unreadable(error: Exception) -> VshareError:
    return VshareError(
        f"the relay's history cannot be read: {error}",
        "run it as the user whom the relay runs as; a broken file is replaced by the relay",
    )


@contextmanager
def history_reader(folder: Path, tokens: Collection[str] | None = None) -> Iterator[HistoryReader]:
    """The history in the state directory `folder`: all of it, or that of the shares with these
    tokens (their IDs). Where none is kept, it is empty. Raises VshareError."""
    try:
        database = _open(folder / FILE)
    except (OSError, sqlite3.Error) as error:
        raise _unreadable(error) from error
    try:
        yield HistoryReader(database, tokens)
    finally:
        database.close()


def _open(path: Path) -> sqlite3.Connection:
    """For reading; empty tables in memory, if there is nothing yet."""
    if path.exists():
        database = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=ro",
            uri=True,
            timeout=BUSY_WITHIN,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            (version,) = database.execute("PRAGMA user_version").fetchone()
            if version > len(MIGRATIONS):
                raise VshareError(f"{path} is of a later vrelay", "update vrelay")
            if version == len(MIGRATIONS):
                return database
        except BaseException:
            database.close()
            raise
        database.close()  # its writer is about to make or to change the tables
    database = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    for statements in MIGRATIONS:
        for statement in statements:
            database.execute(statement)
    return database
