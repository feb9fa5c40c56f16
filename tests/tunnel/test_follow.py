"""The lines of protocol `follow`."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunnel.errors import RemoteProtocolError
from tunnel.follow import (
    MAX_ITEMS,
    MAX_LINE,
    LineParser,
    Person,
    Say,
    Server,
    is_label,
    items_of,
    parse,
    serialize,
)

SERVERS = [Server("web", 3000, "http"), Server("db", 5432)]


def test_a_state_survives() -> None:
    line = serialize("servers", SERVERS)
    assert line.endswith(b"}\n")
    assert items_of(parse(line), Server) == SERVERS
    assert parse(line).omitted == 0


def test_what_does_not_fit_is_counted() -> None:
    many = [Say(n, "x" * 500) for n in range(1, 1_000)]
    state = parse(serialize("says", many))
    assert len(state.items) + state.omitted == 999
    assert items_of(state, Say) == many[: len(state.items)]
    long = parse(serialize("says", [{"text": "\x00" * 30_000}] * 2))
    assert (len(long.items), long.omitted) == (0, 2)
    assert len(parse(serialize("guests", [Person("x")] * 300)).items) == MAX_ITEMS


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"[]",
        b"{}",
        b'{"type":"servers"}',
        b'{"type":"","items":[]}',
        b'{"type":"' + b"x" * 33 + b'","items":[]}',
        b'{"type":"servers","items":{}}',
        b'{"type":"servers","items":[' + b"1," * 256 + b"1]}",
        b'{"type":"servers","items":[],"omitted":-1}',
        b"[" * 60_000,
        b"\xff",
    ],
)
def test_lines_that_are_none(line: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="does not parse"):
        parse(line)


@pytest.mark.parametrize(
    ("kind", "item"),
    [
        (Server, {"name": "web", "port": 0}),
        (Server, {"name": "web", "port": 65_536}),
        (Server, {"name": "-web", "port": 1}),
        (Server, {"name": "web\n", "port": 1}),
        (Server, {"name": "w\x1b[2J", "port": 1}),
        (Server, {"name": "x" * 41, "port": 1}),
        (Server, {"port": 1}),
        (Server, []),
        (Person, {"name": ""}),
        (Person, {"name": "x" * 65}),
        (Say, {"number": 0, "text": "x"}),
        (Say, {"number": 2**63, "text": "x"}),
        (Say, {"number": 1, "text": "x" * 501}),
    ],
)
def test_items_that_are_none(kind: type[Server | Person | Say], item: object) -> None:
    state = parse(json.dumps({"type": "some", "items": [item]}).encode())
    with pytest.raises(RemoteProtocolError, match="some that do not parse"):
        items_of(state, kind)


def test_labels() -> None:
    assert all(map(is_label, ("web", "Web-2.x_y", "1", "x" * 40)))
    assert not any(map(is_label, ("", "-x", ".x", "a b", "a/b", "x" * 41, "web\n", "ä")))


@given(st.lists(st.binary(max_size=20).filter(lambda line: b"\n" not in line)), st.data())
def test_lines_however_they_come(lines: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(line + b"\n" for line in lines) + b"more"
    parser, at, found = LineParser(), 0, []
    while at < len(stream):
        size = data.draw(st.integers(1, len(stream)))
        found += parser.receive_data(stream[at : at + size])
        at += size
    assert found == lines


def test_lines_are_short() -> None:
    longest = b"x" * (MAX_LINE - 1) + b"\n"
    assert LineParser().receive_data(longest * 3) == [longest[:-1]] * 3
    parser = LineParser()
    assert parser.receive_data(longest[:-1]) == []
    with pytest.raises(RemoteProtocolError, match="more than 65536 bytes"):
        parser.receive_data(b"x\n")
    for whole in (b"x" * MAX_LINE + b"\n", b"x" * MAX_LINE):
        with pytest.raises(RemoteProtocolError):
            LineParser().receive_data(whole)
