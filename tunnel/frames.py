"""Frames of `vshare/1` (docs/protocol.md 8): their types, payloads, writing and parsing. Pure.

The parser hands DATA on in pieces as they arrive, so that nothing waits for a whole frame;
control frames and datagrams are handed on whole. Every length is checked before a byte of
the payload is kept.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterator
from typing import Annotated, Any, TypeVar, get_args

import msgspec

from tunnel.errors import RemoteProtocolError

VERSION = 1
MAX_DATA = 256 * 1024  # one read's worth
MAX_CONTROL = 16 * 1024  # HELLO with its rights is the largest
MAX_DATAGRAM = 65_507  # UDP over IPv4: 65,535 - 20 - 8
MAX_PING = 64
MAX_TEXT = 300  # characters of a reason's or a notice's text: a sentence
MAX_SKIPPED = MAX_DATA  # an unknown type of a newer peer
HEADER_SIZE = 8
ALPN = "vshare/1"
CAPABILITIES: tuple[str, ...] = ("datagram", "api", "resume", "follow")

_HEADER = struct.Struct(">II")
# Frames of DATA at least this long are joined with the one before: of shorter ones as many could
# come in one read as there are bytes, and each costs a copy.
_WORTH_JOINING = 4 * 1024

Port = Annotated[int, msgspec.Meta(ge=0, le=65_535)]  # 0: the protocol has no port
Host = Annotated[str, msgspec.Meta(max_length=255)]  # RFC 1035 2.3.4
Id = Annotated[bytes, msgspec.Meta(min_length=16, max_length=16)]
Word = Annotated[str, msgspec.Meta(max_length=32)]  # a protocol's name, a notice's kind
Sentence = Annotated[str, msgspec.Meta(max_length=MAX_TEXT)]


class FrameType(enum.IntEnum):
    """The first byte of a frame."""

    HELLO = 1
    OPEN = 2
    OPENED = 3
    REFUSED = 4
    DATA = 5
    EOF = 6
    RESET = 7
    ACK = 8
    RESUME = 9
    PING = 10
    PONG = 11
    RETIRE = 12
    NOTICE = 13
    FLOW_OPEN = 32
    DGRAM = 33
    FLOW_REFUSED = 34
    FLOW_CLOSE = 35


_DATA = int(FrameType.DATA)  # an enumeration's members are slow to get at, and to compare
_KNOWN = frozenset(int(kind) for kind in FrameType)
_LIMITS = {
    FrameType.DATA: MAX_DATA,
    FrameType.EOF: 0,
    FrameType.ACK: 8,
    FrameType.PING: MAX_PING,
    FrameType.PONG: MAX_PING,
    FrameType.RETIRE: 0,
    FrameType.DGRAM: MAX_DATAGRAM,
    FrameType.FLOW_CLOSE: 0,
}
_LIMIT_OF = {int(kind): _LIMITS.get(kind, MAX_CONTROL) for kind in FrameType}


class Hello(msgspec.Struct, array_like=True, frozen=True):
    """The share's first word. `rights` are ports, or "*" for the whole machine."""

    version: int
    share: str
    capabilities: list[str]
    role: str
    guest: str
    rights: list[str]


class Open(msgspec.Struct, array_like=True, frozen=True):
    """A client's wish. `id` has 16 bytes; a second OPEN with the same id replaces the first."""

    id: Id
    protocol: Word
    host: Host
    port: Port
    resumable: bool = False


class Opened(msgspec.Struct, array_like=True, frozen=True):
    """The share's yes."""

    resumable: bool = False


class Reason(msgspec.Struct, array_like=True, frozen=True):
    """Payload of REFUSED, RESET and FLOW_REFUSED."""

    code: int
    text: str = ""


class Resume(msgspec.Struct, array_like=True, frozen=True):
    """A wish to go on with a stream whose connection was lost, and the share's yes. `offset`:
    everything below has arrived. `generation` rises by one with each try."""

    id: Id
    generation: Annotated[int, msgspec.Meta(ge=0, lt=2**32)]
    offset: Annotated[int, msgspec.Meta(ge=0, lt=2**62)]


class Notice(msgspec.Struct, array_like=True, frozen=True):
    """What the share tells a guest unasked (docs/protocol.md 8.5). `id` is the same on each of
    the guest's connections; `value` is what `kind` says it is, mostly seconds."""

    id: Annotated[int, msgspec.Meta(ge=0, lt=2**53)]
    kind: Word
    text: Sentence = ""
    value: float = 0.0


class FlowOpen(msgspec.Struct, array_like=True, frozen=True):
    """Where a flow's datagrams go. The flow with the same `id` goes on, if it is still open; an
    empty one is nobody's."""

    host: Host
    port: Port
    id: Annotated[bytes, msgspec.Meta(max_length=16)] = b""


Message = Hello | Open | Opened | Reason | Resume | Notice | FlowOpen
M = TypeVar("M", Hello, Open, Opened, Reason, Resume, Notice, FlowOpen)

_encoder = msgspec.msgpack.Encoder()
_decoders: dict[type[Message], msgspec.msgpack.Decoder[Any]] = {
    kind: msgspec.msgpack.Decoder(kind) for kind in get_args(Message)
}


def header(kind: FrameType, length: int, stream: int) -> bytes:
    """The 8 bytes before a payload of `length` bytes."""
    return _HEADER.pack(kind << 24 | length, stream)


def data_header(length: int, stream: int) -> bytes:
    """`header` of DATA, of which there are many."""
    return _HEADER.pack(_DATA << 24 | length, stream)


def serialize(kind: FrameType, stream: int, payload: bytes = b"") -> bytes:
    """A whole frame around a payload that is small or in one piece already."""
    return _HEADER.pack(kind << 24 | len(payload), stream) + payload


def serialize_message(kind: FrameType, stream: int, message: Message) -> bytes:
    """A whole frame around a MessagePack array."""
    return serialize(kind, stream, _encoder.encode(message))


def parse_message(kind: type[M], payload: bytes | memoryview) -> M:
    """The message in a control frame's payload. Raises RemoteProtocolError."""
    try:
        message: M = _decoders[kind].decode(payload)
        return message
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise RemoteProtocolError(f"bad {kind.__name__} message: {error}") from error


class FrameParser:
    """Takes bytes as they come, gives (type, stream, payload) triples.

    For DATA the payload is a piece of a frame, or of several in a row, a view into what
    `receive_data` was given, which is written to if it can be: use the payload before the next
    step of the iteration. Every other payload is whole.
    """

    def __init__(self) -> None:
        self._partial = bytearray()  # a header, or a control frame's payload, begun
        self._kind = 0
        self._stream = 0
        self._left: int | None = None  # payload bytes still missing; None: reading a header

    def receive_data(self, data: memoryview) -> Iterator[tuple[int, int, memoryview]]:
        """Parse `data`, all of it. Raises RemoteProtocolError at the first bad header."""
        at, end = 0, len(data)
        while at < end or self._left == 0:
            if self._left is None:
                at = self._read_header(data, at)
                continue
            begun, at = at, min(at + self._left, end)
            self._left -= at - begun
            done = self._left == 0
            if done:
                self._left = None
            if self._kind == _DATA:
                stop = at
                if end - at > HEADER_SIZE:
                    begun, stop, at = self._join(data, begun, at)
                if stop > begun:
                    yield self._kind, self._stream, data[begun:stop]
            elif self._kind not in _KNOWN:
                continue
            elif done and not self._partial:
                yield self._kind, self._stream, data[begun:at]
            else:
                self._partial += data[begun:at]
                if done:
                    whole, self._partial = self._partial, bytearray()
                    yield self._kind, self._stream, memoryview(whole)

    def maybe_data(self, data: memoryview) -> tuple[int, memoryview] | None:
        """Stream and payload, if `data` is one whole frame of DATA and nothing else, as many small
        messages come; else None, and it is for `receive_data`."""
        if self._left is not None or self._partial or len(data) <= HEADER_SIZE:
            return None
        word, stream = _HEADER.unpack_from(data)
        length = len(data) - HEADER_SIZE
        if word != _DATA << 24 | length or length > MAX_DATA:
            return None
        return stream, data[HEADER_SIZE:]

    def _join(self, data: memoryview, begun: int, at: int) -> tuple[int, int, int]:
        """Put the DATA that comes next right behind begun:at, or that right before it.

        One piece is one system call later on, several are several. Returns where the piece
        begins and stops now, and how far `data` is parsed.
        """
        stop, end = at, len(data)
        while self._left is None and end - at > HEADER_SIZE and not data.readonly:
            word, stream = _HEADER.unpack_from(data, at)
            kind, length = word >> 24, word & 0xFFFFFF
            if kind != _DATA or stream != self._stream:
                break
            if not _WORTH_JOINING <= length <= MAX_DATA:
                break
            start = at + HEADER_SIZE
            at = min(start + length, end)
            size = at - start
            if stop - begun < size:
                data[begun + start - stop : start] = data[begun:stop]
                begun, stop = begun + start - stop, at
            else:
                data[stop : stop + size] = data[start:at]
                stop += size
            self._left = length - size or None
        return begun, stop, at

    def _read_header(self, data: memoryview, at: int) -> int:
        if not self._partial and len(data) - at >= HEADER_SIZE:
            word, self._stream = _HEADER.unpack_from(data, at)
            at += HEADER_SIZE
        else:
            taken = data[at : at + HEADER_SIZE - len(self._partial)]
            self._partial += taken
            at += len(taken)
            if len(self._partial) < HEADER_SIZE:
                return at
            word, self._stream = _HEADER.unpack(self._partial)
            self._partial.clear()
        self._kind, self._left = word >> 24, word & 0xFFFFFF
        limit = _LIMIT_OF.get(self._kind, MAX_SKIPPED)
        if self._left > limit:
            raise RemoteProtocolError(
                f"frame type {self._kind} of {self._left} bytes, at most {limit} are allowed"
            )
        return at
