"""Messages of a shared terminal (docs/protocol.md 8.9): their types and payloads, written and
parsed. Pure.

Its users are the share's hub (vshare/terminals/), `vconnect terminal`, the sharer's own
`vshare terminal`, and the page for browsers, where each is one binary WebSocket message.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterator
from typing import Annotated, Any, TypeVar

import msgspec

from tunnel.errors import RemoteProtocolError

PROTOCOL = "terminal"  # the protocol in OPEN
MAX_PAYLOAD = 64 * 1024  # bytes; a screen that takes more is continued in OUTPUT
MAX_INPUT = 4 * 1024  # bytes of one message; what is pasted comes in several
MAX_SMALL = 64  # bytes of all else that a guest says: an array of two numbers
# What may be under way to a viewer who has not said SEEN: it sees the present with this delay.
WINDOW = 64 * 1024  # bytes of SCREEN and OUTPUT
SEEN_EVERY = 16 * 1024  # bytes after which SEEN is due at the latest, so that none has to wait
MAX_NAME = 32  # characters of a terminal's name
MAX_SIDE = 10_000  # columns or rows that can be said; the share takes less
MAX_TITLE = 300  # characters of what is shown, of a reason or of a line that is held
MAX_PEOPLE = 1_024  # of whom the sharer is told
_HEADER = struct.Struct(">I")
HEADER_SIZE = _HEADER.size


class MessageType(enum.IntEnum):
    """The first byte of a message."""

    SCREEN = 1
    OUTPUT = 2
    STATE = 3
    END = 4
    INPUT = 16
    SIZE = 17
    ASK = 18
    SEEN = 19
    DO = 20


FROM_SHARE = frozenset({MessageType.SCREEN, MessageType.OUTPUT, MessageType.STATE, MessageType.END})
FROM_GUEST = frozenset({MessageType.INPUT, MessageType.SIZE, MessageType.ASK, MessageType.SEEN})
FROM_SHARER = FROM_GUEST | {MessageType.DO}
_LIMITS = {
    MessageType.INPUT: MAX_INPUT,
    MessageType.SIZE: MAX_SMALL,
    MessageType.ASK: MAX_SMALL,
    MessageType.SEEN: MAX_SMALL,
    MessageType.DO: 10 * MAX_TITLE,
}

_Side = Annotated[int, msgspec.Meta(ge=1, le=MAX_SIDE)]
_Short = Annotated[str, msgspec.Meta(max_length=MAX_TITLE)]
_Count = Annotated[int, msgspec.Meta(ge=0, lt=2**53)]


class Size(msgspec.Struct, array_like=True, frozen=True):
    """How large the viewer's own terminal is."""

    columns: _Side
    rows: _Side


class Seen(msgspec.Struct, array_like=True, frozen=True):
    """How many bytes of SCREEN and OUTPUT (their payloads) the viewer has shown, since it came."""

    count: _Count


class End(msgspec.Struct, array_like=True, frozen=True):
    """Why it is over for this viewer: a code of section 8.4, and a sentence."""

    code: int
    text: _Short = ""


class Do(msgspec.Struct, array_like=True, frozen=True):
    """The sharer's word, from its own terminal: a verb, and whom it is about (empty: everybody, or
    for `release` and `drop` who has waited longest). `line`: they are about this one, as it was
    shown, and no other."""

    verb: Annotated[str, msgspec.Meta(max_length=32)]
    guest: _Short = ""
    line: _Short | None = None


class Person(msgspec.Struct, frozen=True, omit_defaults=True):
    """A viewer, as the sharer is told. `held` is the line that waits, as it can be shown."""

    name: _Short
    write: bool = False
    asks: bool = False
    held: _Short = ""


class State(msgspec.Struct, frozen=True, omit_defaults=True):
    """How the terminal is, for one viewer: the whole of it each time.

    `write`: what this viewer types counts; `may_ask`: it may ask for that, and has not yet;
    `locked`: the sharer took typing away from all guests; `hold`: a guest's line waits for the
    sharer; `held`: one of this viewer's does now; `line`: what this viewer has typed of it, which
    nothing else shows; `typing`: who typed last, or ""; `people` are
    told to the sharer alone.
    """

    name: Annotated[str, msgspec.Meta(max_length=MAX_NAME)]
    columns: _Side
    rows: _Side
    write: bool = False
    may_ask: bool = False
    locked: bool = False
    hold: bool = False
    held: bool = False
    line: _Short = ""
    typing: _Short = ""
    viewers: _Count = 0
    people: Annotated[list[Person], msgspec.Meta(max_length=MAX_PEOPLE)] = []


Payload = Size | Seen | End | Do | State
P = TypeVar("P", bound=msgspec.Struct)

_TYPES: dict[type[Payload], MessageType] = {
    Size: MessageType.SIZE,
    Seen: MessageType.SEEN,
    End: MessageType.END,
    Do: MessageType.DO,
    State: MessageType.STATE,
}
_encoder = msgspec.msgpack.Encoder()
_decoders: dict[type[msgspec.Struct], msgspec.msgpack.Decoder[Any]] = {
    kind: msgspec.msgpack.Decoder(kind) for kind in _TYPES
}


def serialize(kind: MessageType, payload: bytes = b"") -> bytes:
    """A whole message around `payload`, which is not longer than `kind` allows."""
    return _HEADER.pack(kind << 24 | len(payload)) + payload


def serialize_payload(payload: Payload) -> bytes:
    """A whole message of MessagePack."""
    return serialize(_TYPES[type(payload)], _encoder.encode(payload))


def serialize_long(kind: MessageType, data: bytes) -> Iterator[bytes]:
    """Messages that carry all of `data`: SCREEN, continued in OUTPUT, or OUTPUT or INPUT alone."""
    limit = MAX_INPUT if kind is MessageType.INPUT else MAX_PAYLOAD
    yield serialize(kind, data[:limit])
    more = MessageType.OUTPUT if kind is MessageType.SCREEN else kind
    for at in range(limit, len(data), limit):
        yield serialize(more, data[at : at + limit])


def parse_payload(kind: type[P], payload: bytes) -> P:
    """What a message of MessagePack says. Raises RemoteProtocolError."""
    try:
        parsed: P = _decoders[kind].decode(payload)
        return parsed
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise RemoteProtocolError(f"bad {kind.__name__} message: {error}") from error


def parse_one(message: bytes, known: frozenset[MessageType]) -> tuple[MessageType, bytes] | None:
    """Type and payload of one whole message, as a WebSocket brings it; None: an unknown type.

    `known` is FROM_SHARE, FROM_GUEST or FROM_SHARER. Raises RemoteProtocolError.
    """
    parser = TerminalParser(known)
    parser.receive_data(message[:HEADER_SIZE])
    if len(message) < HEADER_SIZE or not parser.wants(len(message)):
        raise RemoteProtocolError("a WebSocket message that is not one message of a terminal")
    parser.receive_data(message[HEADER_SIZE:])
    return parser.maybe_message()


class TerminalParser:
    """Takes bytes as they come, gives whole messages; those of other types than `known` are
    skipped, and counted."""

    def __init__(self, known: frozenset[MessageType]) -> None:
        self._known = known
        self._buffer = bytearray()  # bounded: its user takes all messages after each read
        self.skipped = 0

    @property
    def has_more(self) -> bool:
        """Whether bytes are left, of messages not taken yet or not whole."""
        return bool(self._buffer)

    def wants(self, size: int) -> bool:
        """Whether the next message has `size` bytes in all; its header has to be there."""
        (word,) = _HEADER.unpack_from(self._buffer)
        return bool(HEADER_SIZE + (word & 0xFFFFFF) == size)

    def receive_data(self, data: bytes | bytearray | memoryview) -> None:
        """Keep `data`; take every message after it."""
        self._buffer += data

    def maybe_message(self) -> tuple[MessageType, bytes] | None:
        """The next one's type and payload. Raises RemoteProtocolError for one that is too long."""
        while len(self._buffer) >= HEADER_SIZE:
            (word,) = _HEADER.unpack_from(self._buffer)
            number, length = word >> 24, word & 0xFFFFFF
            kind = MessageType(number) if number in self._known else None
            limit = _LIMITS.get(kind, MAX_PAYLOAD) if kind is not None else MAX_PAYLOAD
            if length > limit:
                raise RemoteProtocolError(
                    f"terminal message {number} of {length} bytes, at most {limit} are allowed"
                )
            end = HEADER_SIZE + length
            if len(self._buffer) < end:
                return None
            payload = bytes(self._buffer[HEADER_SIZE:end])
            del self._buffer[:end]
            if kind is not None:
                return kind, payload
            self.skipped += 1
        return None
