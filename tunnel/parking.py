"""The messages on a parked connection (docs/protocol.md 5). Pure."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Literal

import msgspec

from tunnel.errors import LocalProtocolError, RemoteProtocolError

PARK_ALPN = "vshare-park/1"
HEADER = 3  # bytes: the type (u8) and the payload's length (u16)
MAX_MESSAGE = 1024  # payload bytes: a ticket, a sentence, an address
TICKET = 32  # random bytes, so that a ticket cannot be guessed
MAX_ADDRESS = 64  # characters; an IPv6 address with a zone and a port fits
PING_EVERY = 20.0  # seconds; below the 30 s after which middle boxes begin to forget
PONG_WITHIN = 10.0  # seconds
TICKET_LASTS = 30.0  # seconds: dialling, TLS and one round trip on a bad link

Kind = Literal["visitor", "gateway", "browser"]


class Type(enum.IntEnum):
    """The type byte."""

    PING = 0x01
    PONG = 0x02
    PAIRED = 0x03
    PARK = 0x10
    PARKED = 0x11
    NOT_PARKED = 0x12


@dataclass(frozen=True, slots=True)
class Message:
    """One message; `payload` is empty where section 5 says so."""

    type: Type
    payload: bytes = b""


@dataclass(frozen=True, slots=True)
class Paired:
    """What the relay says before the visitor's first byte; `address` is the relay's word."""

    kind: Kind
    address: str


def serialize(message: Message) -> bytes:
    """The bytes of `message`. Raises LocalProtocolError when it is too long."""
    if len(message.payload) > MAX_MESSAGE:
        raise LocalProtocolError(f"a parking message of {len(message.payload)} bytes")
    return bytes([message.type]) + len(message.payload).to_bytes(2, "big") + message.payload


def parse_header(header: bytes) -> tuple[Type, int]:
    """Type and payload length of the HEADER bytes given. Raises RemoteProtocolError."""
    if len(header) != HEADER:
        raise RemoteProtocolError(f"a parking message's header of {len(header)} bytes")
    length = int.from_bytes(header[1:], "big")
    if length > MAX_MESSAGE:
        raise RemoteProtocolError(f"a parking message of {length} bytes")
    try:
        return Type(header[0]), length
    except ValueError:
        raise RemoteProtocolError(f"unknown parking message {header[0]:#x}") from None


def maybe_parse(data: bytes) -> tuple[Message, int] | None:
    """The first message in `data` and its size in bytes; None if it is incomplete.

    Raises RemoteProtocolError.
    """
    if len(data) < HEADER:
        if data:  # an unknown type is refused at its first byte
            parse_header(data[:1] + b"\0\0")
        return None
    kind, length = parse_header(data[:HEADER])
    if len(data) < HEADER + length:
        return None
    return Message(kind, bytes(data[HEADER : HEADER + length])), HEADER + length


def serialize_paired(paired: Paired) -> bytes:
    """The PAIRED message for `paired`."""
    return serialize(Message(Type.PAIRED, msgspec.msgpack.encode([paired.kind, paired.address])))


def parse_paired(payload: bytes) -> Paired:
    """The payload of a PAIRED message. Raises RemoteProtocolError."""
    try:
        members = msgspec.msgpack.decode(payload, type=list[msgspec.Raw])
        kind = msgspec.msgpack.decode(members[0], type=Kind)
        address = msgspec.msgpack.decode(members[1], type=str)
    except (msgspec.DecodeError, IndexError, UnicodeDecodeError, RecursionError):
        raise RemoteProtocolError("a PAIRED message that does not parse") from None
    if len(address) > MAX_ADDRESS or not address.isprintable():
        raise RemoteProtocolError("a PAIRED message with an impossible address")
    return Paired(kind, address)
