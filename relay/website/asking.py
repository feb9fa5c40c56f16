"""What pages ask of histories at several relays, and what is answered. Pure.

A question is read strictly, and what is answered bounded, whoever asks (docs/protocol.md 4.3). A
place in a list that several relays fill is a time, a relay's home and an ID: all of them have the
same order.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, TypeVar

import msgspec

from relay.history.reader import (
    MAX_SEARCH,
    Event,
    HistoryReader,
    Page,
    RequestEntry,
    SessionEntry,
    TrafficPoint,
    VisitEntry,
    Wanted,
)
from relay.website.graph import Graph, graph_of, step_for
from tunnel.errors import RemoteProtocolError

MAX_TOKENS = 4_000  # of an account, with whose rows a question is; they fit into one
MAX_LIST = 101  # rows of an answer
MAX_TIME = float(1 << 33)  # seconds since the epoch: later is no time that a page could show
MAX_NUMBER = (1 << 53) - 1  # of IDs and bytes
FEW = 20  # rows of the lists in a story
MAX_PRESENT = 100  # connections now that a story lists; the rest is a number
_TIMES = {"at", "began_at", "ended_at", "seconds"}
HOME = r"[0-9a-f]{16}"  # a relay's (relay/cluster/node.py)
_CURSOR = re.compile(rf"([0-9]{{1,10}}\.[0-9]{{1,9}})-({HOME})-([0-9]{{1,15}})")
_REFERENCE = re.compile(rf"({HOME})-([0-9]{{1,15}})")

Token = Annotated[str, msgspec.Meta(pattern=r"^[a-z2-7]{8}\Z")]
Tokens = Annotated[list[Token], msgspec.Meta(max_length=MAX_TOKENS)]
Time = Annotated[float, msgspec.Meta(ge=0, le=MAX_TIME)]
Number = Annotated[int, msgspec.Meta(ge=0, le=MAX_NUMBER)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=63)]
Entry = SessionEntry | VisitEntry | RequestEntry
Kind = Literal["sessions", "visits", "requests"]


class Cursor(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The last row of the page before."""

    at: Time
    home: Annotated[str, msgspec.Meta(pattern=rf"^{HOME}\Z")]
    id: Number


class ListAsked(msgspec.Struct, frozen=True, tag="list", forbid_unknown_fields=True):
    """Rows of one kind, the newest first. Of `tokens` alone; None: everybody's."""

    of: Kind
    tokens: Tokens | None
    limit: Annotated[int, msgspec.Meta(ge=1, le=MAX_LIST)]
    search: Annotated[str, msgspec.Meta(max_length=MAX_SEARCH)] = ""
    status: Annotated[int, msgspec.Meta(ge=1, le=5)] | None = None
    after: Cursor | None = None


class StoryAsked(msgspec.Struct, frozen=True, tag="story", forbid_unknown_fields=True):
    """What is told of the session with that ID; else of the one that lasts under that name."""

    tokens: Tokens | None
    session: Number | None = None
    name: Annotated[str, msgspec.Meta(max_length=63)] = ""


class TokensAsked(msgspec.Struct, frozen=True, tag="tokens", forbid_unknown_fields=True):
    """The IDs of all tokens of an account, by its number there."""

    account: Annotated[int, msgspec.Meta(ge=1, lt=1 << 24)]


Asked = ListAsked | StoryAsked | TokensAsked


class Present(msgspec.Struct, frozen=True):
    """A connection to a share now."""

    began_at: Time
    source: str
    kind: str
    received: Number
    sent: Number


class Told(msgspec.Struct, frozen=True):
    """A session, and what is told of it; `present` of it now, the first of `count`."""

    session: SessionEntry
    until: Time
    step: Annotated[int, msgspec.Meta(ge=60)]
    points: Annotated[list[TrafficPoint], msgspec.Meta(max_length=2_000)]
    events: Annotated[list[Event], msgspec.Meta(max_length=FEW)]
    visits: Annotated[list[VisitEntry], msgspec.Meta(max_length=FEW)]
    requests: Annotated[list[RequestEntry], msgspec.Meta(max_length=FEW)]
    present: Annotated[list[Present], msgspec.Meta(max_length=MAX_PRESENT)] = []
    count: Number = 0

    @property
    def graph(self) -> Graph:
        """Its traffic."""
        return graph_of(self.points, self.session.began_at, self.until, self.step)


@dataclass(frozen=True, slots=True)
class Place:
    """A relay of the cluster: its home (relay/cluster/records.py), and what people call it."""

    home: str
    name: str


@dataclass(frozen=True, slots=True)
class Row:
    """`entry` as a page shows it: `ref` is what its session is called in an address, `place` the
    relay that has it (empty: there is but one)."""

    entry: Entry
    ref: str
    place: str = ""


T = TypeVar("T")
_encode = msgspec.json.Encoder().encode
_asked: msgspec.json.Decoder[Asked] = msgspec.json.Decoder(Asked)
_told: msgspec.json.Decoder[Told | None] = msgspec.json.Decoder(Told | None)
_tokens = msgspec.json.Decoder(Tokens)
_rows: dict[str, msgspec.json.Decoder[list[SessionEntry] | list[VisitEntry] | list[RequestEntry]]]
_rows = {
    "sessions": msgspec.json.Decoder(list[SessionEntry]),
    "visits": msgspec.json.Decoder(list[VisitEntry]),
    "requests": msgspec.json.Decoder(list[RequestEntry]),
}


def serialize(thing: Asked | Told | Sequence[Entry] | list[str] | None) -> bytes:
    """A question, or an answer, as the functions below read it."""
    return _encode(thing)


def parse_asked(text: bytes) -> Asked:
    """A question. Raises RemoteProtocolError."""
    return _parse(_asked, text)


def parse_rows(asked: ListAsked, text: bytes) -> Sequence[Entry]:
    """The answer to it. Raises RemoteProtocolError."""
    rows = _parse(_rows[asked.of], text)
    if len(rows) > asked.limit:
        raise RemoteProtocolError(f"{len(rows)} rows, {asked.limit} were asked for")
    _check(*rows)
    return rows


def parse_told(text: bytes) -> Told | None:
    """What was told of a session; None: there is none of those tokens. Raises
    RemoteProtocolError."""
    told = _parse(_told, text)
    if told is not None:
        _check(told.session, *told.visits, *told.requests, *told.points, *told.events)
        if told.until < told.session.began_at:
            raise RemoteProtocolError("a session that ends before it begins")
    return told


def parse_tokens(text: bytes) -> list[str]:
    """An account's tokens. Raises RemoteProtocolError."""
    return _parse(_tokens, text)


def parse_cursor(text: str) -> Cursor | None:
    """None: it is none."""
    found = _CURSOR.fullmatch(text)
    if found is None or float(found[1]) > MAX_TIME:
        return None
    return Cursor(float(found[1]), found[2], int(found[3]))


def cursor_text(at: float, home: str, number: int) -> str | None:
    """As `parse_cursor` reads it; None: it cannot be said."""
    text = f"{at!r}-{home}-{number}"
    return text if parse_cursor(text) == Cursor(at, home, number) else None


def parse_reference(text: str) -> tuple[str, int] | None:
    """The home and the ID of a session at some relay of the cluster; None: it is none."""
    found = _REFERENCE.fullmatch(text)
    return (found[1], int(found[2])) if found is not None else None


def time_of(entry: Entry) -> float:
    """By which rows are ordered."""
    return entry.at if isinstance(entry, RequestEntry) else entry.began_at


def session_of(entry: Entry) -> int:
    """The ID of the session that it is, or is of."""
    return entry.id if isinstance(entry, SessionEntry) else entry.session


def rows_of(reader: HistoryReader, asked: ListAsked, home: str) -> Sequence[Entry]:
    """Those that the relay at `home` has, as a reader for the tokens of the question reads them."""
    wanted = Wanted(search=asked.search, status=asked.status)
    page = Page(limit=asked.limit, by_time=True, below=_below(asked.after, home))
    return read(reader, asked.of, wanted, page)


def read(reader: HistoryReader, of: Kind, wanted: Wanted, page: Page) -> Sequence[Entry]:
    """Rows of that kind."""
    match of:
        case "sessions":
            return reader.sessions(wanted, page)
        case "visits":
            return reader.visits(wanted, page)
        case "requests":
            return reader.requests(wanted, page)


def story_in(reader: HistoryReader, asked: StoryAsked, now: float) -> Told | None:
    """What is told of the session that is asked for; None: there is none."""
    session = _find(reader, asked)
    if session is None:
        return None
    until = max(session.began_at, min(now, session.ended_at or now))
    step = step_for(session.began_at, until)
    of_it, few = Wanted(session=session.id), Page(limit=FEW)
    points = reader.traffic(Wanted(session=session.id, since=session.began_at - step), step)
    return Told(
        session,
        until,
        step,
        points,
        reader.events(of_it, FEW),
        reader.visits(of_it, few),
        reader.requests(of_it, few),
    )


def _find(reader: HistoryReader, asked: StoryAsked) -> SessionEntry | None:
    if asked.session is not None:
        return reader.session(asked.session)
    found = reader.sessions(Wanted(name=asked.name, lasting=True), Page(limit=1))
    return found[0] if found and asked.name else None


def _below(after: Cursor | None, home: str) -> tuple[float, int] | None:
    """What is behind `after` at `home`: rows of one time are ordered by their homes, backwards."""
    if after is None:
        return None
    if home == after.home:
        return after.at, after.id
    return after.at, MAX_NUMBER if home < after.home else -1


def _check(*things: Entry | TrafficPoint | Event) -> None:
    """Pages show times and amounts, which have an end."""
    for thing in things:
        for field in dataclasses.fields(thing):
            value = getattr(thing, field.name)
            most = MAX_TIME if field.name in _TIMES else MAX_NUMBER
            if isinstance(value, int | float) and not 0 <= value <= most:
                raise RemoteProtocolError(f"{field.name} cannot be shown: {value}")


def _parse(decoder: msgspec.json.Decoder[T], text: bytes) -> T:
    try:
        return decoder.decode(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise RemoteProtocolError(f"a history that does not parse: {error}") from None
