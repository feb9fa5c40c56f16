"""What relays of a cluster ask each other for their pages, and places in lists from browsers."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import TypeVar

from relay.history.reader import Event, SessionEntry, TrafficPoint
from relay.website import asking, token_asking
from relay.website.asking import Cursor, ListAsked, Present, StoryAsked, TokensAsked, Told
from tests.fuzz.target import Target, choose, require
from tunnel.errors import RemoteProtocolError

T = TypeVar("T")

HOME = "0123456789abcdef"
TOKENS = ["abcdefgh", "22222222"]
SESSION = SessionEntry(
    7, "one-name", TOKENS[0], True, False, 1.5e9, None, "", 10, 20, 1, 2
)  # fmt: skip
LISTS = tuple(
    ListAsked(of, TOKENS, 2, "word", 4, Cursor(1.5e9, HOME, 7))
    for of in ("sessions", "visits", "requests")
)
TOLD = Told(
    SESSION,
    1.6e9,
    3_600,
    [TrafficPoint(1.55e9, 1, 2, 3, 4)],
    [Event(1.5e9, 7, "one-name", "began", "")],
    [],
    [],
    [Present(1.5e9, "192.0.2.1", "http", 1, 2)],
    1,
)
TEXTS = (
    *(asking.serialize(each) for each in LISTS),
    asking.serialize(StoryAsked(None, 7)),
    asking.serialize(TokensAsked(3)),
    asking.serialize(TOLD),
    asking.serialize([SESSION]),
    asking.serialize(TOKENS),
    token_asking.serialize(token_asking.ListAsked(TOKENS[0])),
    token_asking.serialize(token_asking.MakeAsked(TOKENS[0], {"note": "mine", "shares": "3"})),
    token_asking.serialize(token_asking.Refused("no", True)),
    (asking.cursor_text(1.5e9, HOME, 7) or "").encode(),
    f"{HOME}-7".encode(),
)


def run(data: bytes) -> None:
    """A question is as it was when it is said again; what was told can be shown."""
    which, text = choose(data)
    for parse in (token_asking.parse_asked, token_asking.parse_told, asking.parse_tokens):
        _maybe(parse, text)
    asked = _maybe(asking.parse_asked, text)
    if asked is not None:
        require(asking.parse_asked(asking.serialize(asked)) == asked, "a question comes back")
    _maybe(lambda rows: asking.parse_rows(LISTS[which % len(LISTS)], rows), text)
    told = _maybe(asking.parse_told, text)
    if told is not None:
        require(len(told.graph.bars) <= len(told.points), "a bar for each point, at most")
        for at in (told.session.began_at, told.until, *(each.at for each in told.events)):
            datetime.datetime.fromtimestamp(at, datetime.UTC)  # else no page can show it
    place = text.decode("utf-8", "replace")
    cursor = asking.parse_cursor(place)
    if cursor is not None:
        said = asking.cursor_text(cursor.at, cursor.home, cursor.id)
        require(said is None or asking.parse_cursor(said) == cursor, "a place comes back", place)
    reference = asking.parse_reference(place)
    require(reference is None or len(reference[0]) == len(HOME), "a home is one", place)


def _maybe(parse: Callable[[bytes], T], text: bytes) -> T | None:
    try:
        return parse(text)
    except RemoteProtocolError:
        return None


TARGETS = (
    Target(
        "pages-asking", run, (), tuple(b"\0" + text for text in TEXTS),
        ("relay.website.asking", "relay.website.token_asking", "relay.website.graph"),
        (b"1e300", b"99999999999", b"-1", b"null", b"NaN"),
    ),
)  # fmt: skip
