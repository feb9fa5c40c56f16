"""Messages of a shared terminal (docs/protocol.md 8.9)."""

from __future__ import annotations

import msgspec
import pytest

from tunnel.errors import RemoteProtocolError
from tunnel.terminal_messages import (
    FROM_GUEST,
    FROM_SHARE,
    FROM_SHARER,
    MAX_INPUT,
    MAX_PAYLOAD,
    Do,
    End,
    MessageType,
    Payload,
    Person,
    Seen,
    Size,
    State,
    TerminalParser,
    parse_one,
    parse_payload,
    serialize,
    serialize_long,
    serialize_payload,
)

STATE = State("build", 80, 24, write=True, viewers=3, people=[Person("Kim", asks=True)])


@pytest.mark.parametrize("payload", [Size(80, 24), Seen(2**40), End(1, "over"), Do("lock"), STATE])
def test_a_payload_survives_being_written(payload: Payload) -> None:
    known = FROM_SHARE | FROM_SHARER
    one = parse_one(serialize_payload(payload), known)
    assert one is not None
    again = parse_payload(type(payload), one[1])
    assert again == payload


def test_messages_come_out_whole_however_they_are_cut() -> None:
    data = serialize(MessageType.OUTPUT, b"ls\r\n") + serialize_payload(STATE)
    parser = TerminalParser(FROM_SHARE)
    found = []
    for at in range(len(data)):
        parser.receive_data(data[at : at + 1])
        while (message := parser.maybe_message()) is not None:
            found.append(message[0])
    assert found == [MessageType.OUTPUT, MessageType.STATE]
    assert not parser.has_more


def test_a_screen_that_is_long_goes_on_as_output() -> None:
    data = b"x" * (2 * MAX_PAYLOAD + 1)
    parts = [parse_one(part, FROM_SHARE) for part in serialize_long(MessageType.SCREEN, data)]
    kinds = [part[0] for part in parts if part is not None]
    assert kinds == [MessageType.SCREEN, MessageType.OUTPUT, MessageType.OUTPUT]
    assert b"".join(part[1] for part in parts if part is not None) == data


def test_what_a_guest_says_is_bounded_before_it_is_kept() -> None:
    for kind, length in (
        (MessageType.INPUT, MAX_INPUT + 1),
        (MessageType.SIZE, 65),
        (MessageType.SEEN, 65),
    ):
        parser = TerminalParser(FROM_GUEST)
        parser.receive_data(serialize(kind, bytes(length))[:4])
        with pytest.raises(RemoteProtocolError, match="at most"):
            parser.maybe_message()
    parser.receive_data(b"")


def test_what_is_not_known_is_skipped() -> None:
    """So is what only the sharer may say, when a guest says it."""
    parser = TerminalParser(FROM_GUEST)
    parser.receive_data(
        serialize_payload(Do("unlock"))
        + bytes([200, 0, 0, 2, 1, 2])
        + serialize(MessageType.INPUT, b"x")
    )
    assert parser.maybe_message() == (MessageType.INPUT, b"x")
    assert parser.maybe_message() is None
    assert parser.skipped == 2
    parser.receive_data(bytes([200, 0xFF, 0xFF, 0xFF]))
    with pytest.raises(RemoteProtocolError):
        parser.maybe_message()


def test_a_websocket_message_is_one() -> None:
    assert parse_one(bytes([200, 0, 0, 0]), FROM_GUEST) is None
    for bad in (
        b"",
        b"\x10",
        serialize(MessageType.ASK) * 2,
        serialize(MessageType.INPUT, b"abc")[:-1],
    ):
        with pytest.raises(RemoteProtocolError):
            parse_one(bad, FROM_GUEST)


@pytest.mark.parametrize("columns", [0, -1, 10_001, "a", None])
def test_a_size_is_one(columns: object) -> None:
    with pytest.raises(RemoteProtocolError, match="Size"):
        parse_payload(Size, msgspec.msgpack.encode([columns, 24]))
