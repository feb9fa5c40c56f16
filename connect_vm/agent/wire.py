"""What crosses the control port (docs/protocol.md 10). Pure; used by both sides."""

import hashlib
import hmac
import socket
import struct
from collections.abc import Iterator
from typing import NamedTuple

VERSION = 1
NONCE_SIZE = MAC_SIZE = 32
ANSWER_SIZE = NONCE_SIZE + MAC_SIZE + 1
PARKED = b"P"
DATAGRAMS = b"U"
OPENED = 0

TCP = socket.IPPROTO_TCP
UDP = socket.IPPROTO_UDP

FLOW_OPEN = 1
DGRAM = 2
FLOW_REFUSED = 3
FLOW_CLOSE = 4
DROPPED = 5

MAX_DATAGRAM = 65_507  # 65,535 less the IPv4 and UDP headers (RFC 768)

# docs/protocol.md 8.4; the agent has no tunnel package beside it.
CODE_REFUSED = 2
CODE_TIMED_OUT = 5
CODE_LOST = 15

_HEADER = struct.Struct("!BB4sH4sH")
_FRAME = struct.Struct("!IBI")
HEADER_SIZE = _HEADER.size


class WireError(ValueError):
    """What arrived is not what docs/protocol.md 10 says."""


class Header(NamedTuple):
    """A connection attempt or a flow: who asks for what. Also its key: a 4-tuple and protocol."""

    protocol: int
    dst: bytes
    dport: int
    src: bytes
    sport: int

    def encode(self) -> bytes:
        """The 14 bytes."""
        return _HEADER.pack(VERSION, *self)

    @property
    def destination(self) -> tuple[str, int]:
        """(dotted address, port), as sockets have it."""
        return socket.inet_ntoa(self.dst), self.dport

    @property
    def source(self) -> tuple[str, int]:
        """(dotted address, port), as sockets have it."""
        return socket.inet_ntoa(self.src), self.sport

    @classmethod
    def of(cls, protocol: int, dst: tuple[str, int], src: tuple[str, int]) -> "Header":
        """From socket addresses."""
        return cls(protocol, socket.inet_aton(dst[0]), dst[1], socket.inet_aton(src[0]), src[1])


def decode_header(data: bytes) -> Header:
    """The header in exactly HEADER_SIZE bytes. Raises WireError."""
    if len(data) != HEADER_SIZE:
        raise WireError(f"a header has {HEADER_SIZE} bytes, not {len(data)}")
    version, *rest = _HEADER.unpack(data)
    if version != VERSION or rest[0] not in (TCP, UDP):
        raise WireError(f"header of version {version}, protocol {rest[0]}")
    return Header(*rest)


def prove(secret: bytes, who: bytes, theirs: bytes, ours: bytes) -> bytes:
    """HMAC-SHA256 over who speaks, the nonce that challenged and the speaker's own."""
    return hmac.digest(secret, who + theirs + ours, hashlib.sha256)


def answer(secret: bytes, nonce_a: bytes, nonce_v: bytes, kind: bytes) -> bytes:
    """vconnect's message 2."""
    return nonce_v + prove(secret, b"vconnect" + kind, nonce_a, nonce_v) + kind


def check_answer(secret: bytes, nonce_a: bytes, message: bytes) -> tuple[bytes, bytes] | None:
    """(kind, the agent's message 3), or None when message 2 does not prove the secret."""
    nonce_v, mac, kind = message[:32], message[32:64], message[64:]
    wanted = prove(secret, b"vconnect" + kind, nonce_a, nonce_v)
    if not hmac.compare_digest(mac, wanted) or kind not in (PARKED, DATAGRAMS):
        return None
    return kind, prove(secret, b"agent", nonce_v, nonce_a)


def check_agent(secret: bytes, nonce_a: bytes, nonce_v: bytes, message: bytes) -> bool:
    """Does message 3 prove that the agent has the secret?"""
    return hmac.compare_digest(message, prove(secret, b"agent", nonce_v, nonce_a))


def frame(kind: int, flow: int, payload: bytes = b"") -> bytes:
    """One frame of the datagram link; the length is the payload's."""
    return _FRAME.pack(len(payload), kind, flow) + payload


class FrameReader:
    """Cuts a byte stream into frames; what is buffered is below one frame and one read."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[int, int, bytes]]:
        """Yield (type, flow, payload) for each whole frame. Raises WireError."""
        self._buffer += data
        start = 0
        try:
            while len(self._buffer) - start >= _FRAME.size:
                length, kind, flow = _FRAME.unpack_from(self._buffer, start)
                if length > MAX_DATAGRAM:
                    raise WireError(f"a frame of {length} bytes")
                end = start + _FRAME.size + length
                if end > len(self._buffer):
                    break
                yield kind, flow, bytes(self._buffer[start + _FRAME.size : end])
                start = end
        finally:
            del self._buffer[:start]
