from __future__ import annotations

import json
import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.cluster.questions import MAX_QUESTION
from relay.history.reader import MAX_SEARCH, Event, RequestEntry, SessionEntry, VisitEntry
from relay.website.asking import (
    MAX_NUMBER,
    MAX_TOKENS,
    Cursor,
    ListAsked,
    Present,
    StoryAsked,
    TokensAsked,
    Told,
    cursor_text,
    parse_asked,
    parse_cursor,
    parse_reference,
    parse_rows,
    parse_tokens,
    parse_told,
    serialize,
)
from tunnel.errors import RemoteProtocolError

HOME = "0123456789abcdef"
SESSION = SessionEntry(
    7, "frosty-weasel", "abcdefgh", http=True, passthrough=False, began_at=5.5, ended_at=None,
    how="", received=1, sent=2, visits=3, requests=4,
)  # fmt: skip
VISIT = VisitEntry(1, 7, "frosty-weasel", "join", "", "192.0.2.7", 6.0, 7.0, 1.0, 10, 20)
REQUEST = RequestEntry(1, 7, 1, "frosty-weasel", "", "", 6.5, "GET", "/é", 200, 10, 20, 0.5)
TOLD = Told(SESSION, 9.0, 60, [], [Event(5.5, 7, "frosty-weasel", "began", "")], [VISIT],
            [REQUEST], [Present(6.0, "192.0.2.7", "join", 1, 2)], 1)  # fmt: skip


@pytest.mark.parametrize(
    "asked",
    [
        ListAsked("sessions", None, 51),
        ListAsked("requests", ["abcdefgh"], 1, "é%_", 4, Cursor(5.5, HOME, 3)),
        StoryAsked([], 7),
        StoryAsked(None, name="frosty-weasel"),
        TokensAsked(3),
    ],
)
def test_questions(asked: ListAsked | StoryAsked | TokensAsked) -> None:
    assert parse_asked(serialize(asked)) == asked


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"{}",
        b"{" * 30_000,
        b'{"type":"else"}',
        b'{"type":"list","of":"sessions","limit":51}',  # whose?
        b'{"type":"list","of":"tokens","tokens":null,"limit":51}',
        b'{"type":"list","of":"sessions","tokens":null,"limit":102}',
        b'{"type":"list","of":"sessions","tokens":null,"limit":0}',
        b'{"type":"list","of":"sessions","tokens":[""],"limit":51}',  # shares without a token
        b'{"type":"list","of":"sessions","tokens":["abcdefgh\\n"],"limit":51}',
        b'{"type":"list","of":"sessions","tokens":null,"limit":51,"more":1}',
        b'{"type":"list","of":"sessions","tokens":null,"limit":5,"status":6}',
        b'{"type":"list","of":"sessions","tokens":null,"limit":5,"after":[1e300,"' + HOME.encode()
        + b'",3]}',
        b'{"type":"story","tokens":null,"session":-1}',
        b'{"type":"tokens","account":0}',
        b'{"type":"tokens","account":16777216}',
        b'{"type":"tokens","account":"1"}',
        b'{"type":"tokens","account":1}x',
        b'\xff{"type":"tokens","account":1}',
    ],
)  # fmt: skip
def test_strange_questions(text: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        parse_asked(text)


def test_the_longest_question_is_none_too_long() -> None:
    longest = ListAsked(
        "requests", ["abcdefgh"] * MAX_TOKENS, 51, "\N{PILE OF POO}" * MAX_SEARCH, 5,
        Cursor(1700000000.123456, HOME, 10**14),
    )  # fmt: skip
    text = serialize(longest)
    assert len(text) < MAX_QUESTION
    assert parse_asked(text) == longest


def test_answers() -> None:
    for of, row in (("sessions", SESSION), ("visits", VISIT), ("requests", REQUEST)):
        asked = ListAsked(of, None, 2)  # type: ignore[arg-type]  # one of them
        assert parse_rows(asked, serialize([row, row])) == [row, row]
        with pytest.raises(RemoteProtocolError, match="3 rows"):
            parse_rows(asked, serialize([row] * 3))
    assert parse_told(serialize(TOLD)) == TOLD
    assert parse_told(serialize(None)) is None
    assert parse_tokens(serialize(["abcdefgh"])) == ["abcdefgh"]
    with pytest.raises(RemoteProtocolError):
        parse_tokens(serialize(["abcdefgh"] * (MAX_TOKENS + 1)))


def _with(place: list[str | int], value: object) -> bytes:
    whole = json.loads(serialize(TOLD))
    part = whole
    for each in place[:-1]:
        part = part[each]
    part[place[-1]] = value
    return json.dumps(whole).encode()


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (["session", "began_at"], 1e300),
        (["session", "began_at"], 100.0),  # after its end
        (["session", "ended_at"], -1.0),
        (["session", "received"], 10**400),
        (["session", "received"], MAX_NUMBER + 1),
        (["session", "name"], None),
        (["until"], 1e12),
        (["step"], 0),
        (["visits", 0, "seconds"], 1e308),
        (["requests", 0, "seconds"], math.inf),
        (["requests", 0, "at"], 1e11),
        (["events", 0, "at"], -5.0),
        (["present", 0, "began_at"], 1e11),
        (["present", 0, "sent"], -1),
        (["count"], -1),
    ],
)
def test_what_could_not_be_shown_is_no_answer(place: list[str | int], value: object) -> None:
    with pytest.raises(RemoteProtocolError):
        parse_told(_with(place, value))


@given(st.floats(0, 1 << 33), st.integers(0, 10**15 - 1))
def test_a_cursor_says_its_row_and_no_other(at: float, number: int) -> None:
    text = cursor_text(at, HOME, number)
    if text is not None:
        assert parse_cursor(text) == Cursor(at, HOME, number)
        assert len(text) < 60


def test_times_of_clocks_can_be_said() -> None:
    for at in (0.0, 5.5, 1700000000.0, 1700000000.1234567, 1763856000.9999999):
        assert cursor_text(at, HOME, 1) is not None


@pytest.mark.parametrize("parse", [parse_cursor, parse_reference])
@given(text=st.text(max_size=80))
def test_whatever_an_address_has(parse: Callable[[str], object], text: str) -> None:
    parse(text)


def test_what_is_no_cursor_or_reference() -> None:
    good = f"1700000000.5-{HOME}-7"
    assert parse_cursor(good) == Cursor(1700000000.5, HOME, 7)
    assert parse_reference(f"{HOME}-7") == (HOME, 7)
    for text in ("", "7", good + "\n", good + "-", " " + good, f"9999999999.5-{HOME}-7",
                 f"1.5-{HOME.upper()}-7", f"1.5-{HOME}-\u0663", f"1.5-{HOME}-{'9' * 16}",
                 f"nan-{HOME}-7", f"1e5-{HOME}-7", f"-1.5-{HOME}-7"):  # fmt: skip
        assert parse_cursor(text) is None
    for text in ("", "7", f"{HOME}-", f"{HOME}-7\n", f"{HOME}-{'9' * 16}", f"{HOME[:-1]}-7"):
        assert parse_reference(text) is None
