"""Messages of shared terminals, of both sides."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

import msgspec

from tests.fuzz.target import Target, choose, require, same_however_cut
from tests.fuzz.targets.frames import _odd_value
from tunnel import terminal_messages
from tunnel.errors import RemoteProtocolError
from tunnel.terminal_messages import (
    FROM_GUEST,
    FROM_SHARE,
    FROM_SHARER,
    HEADER_SIZE,
    MAX_PAYLOAD,
    Do,
    End,
    MessageType,
    Person,
    Seen,
    Size,
    State,
    TerminalParser,
    parse_one,
    parse_payload,
    serialize,
    serialize_payload,
)

KINDS: tuple[Any, ...] = (Size, Seen, End, Do, State)
PAYLOADS: tuple[Any, ...] = (
    Size(80, 24),
    Seen(2**40),
    End(1, "over"),
    Do("grant", "Kim"),
    State("build", 80, 24, write=True, people=[Person("Kim", held="rm")]),
)
KNOWN = (FROM_SHARE, FROM_GUEST, FROM_SHARER)
INPUT = serialize(MessageType.INPUT, b"ls\r")
UNKNOWN = bytes([200, 0, 0, 2]) + b"go"


def run_messages(data: bytes) -> None:
    which, data = choose(data)
    known = KNOWN[which % len(KNOWN)]

    def feed(pieces: Iterable[bytes]) -> object:
        parser, found = TerminalParser(known), []
        try:
            for piece in pieces:
                parser.receive_data(piece)
                while (message := parser.maybe_message()) is not None:
                    require(message[0] in known, "a message is of a type that may be said")
                    require(len(message[1]) <= MAX_PAYLOAD, "a message has its length")
                    found.append(message)
        except RemoteProtocolError:
            return found, parser.skipped, "error"
        return found, parser.skipped, parser.has_more

    same_however_cut(data, feed)


def run_one(data: bytes) -> None:
    parsed = parse_one(data, FROM_SHARER)
    if parsed is not None:
        require(serialize(*parsed) == data, "a message is its type and its payload")
    require(len(data) >= HEADER_SIZE, "a message has a header")


def run_payload(data: bytes) -> None:
    which, data = choose(data)
    kind = KINDS[which % len(KINDS)]
    payload = parse_payload(kind, data)
    again = parse_one(serialize_payload(payload), FROM_SHARE | FROM_SHARER)
    require(again is not None, "a payload has a type")
    if again is not None:
        require(parse_payload(kind, again[1]) == payload, "a payload survives being written")


def odd_payload(chance: random.Random) -> bytes:
    at = chance.randrange(len(KINDS))
    members = msgspec.to_builtins(PAYLOADS[at])
    for _ in range(chance.randrange(3)):
        if isinstance(members, dict):
            members[chance.choice((*members, "more"))] = _odd_value(chance)
        else:
            members = [*members]
            members[chance.randrange(len(members))] = _odd_value(chance)
    return bytes([at]) + msgspec.msgpack.encode(members)


_MODULE = (terminal_messages.__name__,)
_WHOLE = tuple(serialize_payload(each) for each in PAYLOADS)
TARGETS = (
    Target(
        "terminal-messages", run_messages, (),
        tuple(bytes([at]) + b"".join((*_WHOLE, INPUT, UNKNOWN)) for at in range(3)),
        _MODULE, (b"\x10\0\0\1", b"\x01\0\0\0", b"\x10\0\x10\x01"), None, 8_192,
    ),
    Target("terminal-message", run_one, (RemoteProtocolError,), (*_WHOLE, INPUT, UNKNOWN), _MODULE),
    Target(
        "terminal-payload", run_payload, (RemoteProtocolError,),
        tuple(bytes([at]) + each[HEADER_SIZE:] for at, each in enumerate(_WHOLE)),
        _MODULE, (b"\xa5write", b"\xc3", b"\xa6people"), odd_payload,
    ),
)  # fmt: skip
