"""A WebSocket that sends every message back. Source: RFC 6455."""

from __future__ import annotations

import base64
import hashlib
import struct
from typing import BinaryIO

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3
TEXT_BINARY_CONTINUATION = (0, 1, 2)
CLOSE, PING, PONG = 8, 9, 10
PAYLOAD_LIMIT = 16 << 20  # bytes in a frame; more is not a demonstration


def accept_token(key: str) -> str:
    """The Sec-WebSocket-Accept for a Sec-WebSocket-Key (section 4.2.2)."""
    return base64.b64encode(hashlib.sha1(key.encode() + GUID).digest()).decode()


def echo(reader: BinaryIO, writer: BinaryIO) -> None:
    """Answer frames until the other side closes. Frames go back as they came, fragments too."""
    while (frame := _read_frame(reader)) is not None:
        first, payload = frame
        opcode = first & 0x0F
        if opcode == PING:
            first = first & 0xF0 | PONG
        elif opcode not in (*TEXT_BINARY_CONTINUATION, CLOSE):
            continue
        writer.write(_header(first, len(payload)) + payload)
        writer.flush()
        if opcode == CLOSE:
            return


def _read_frame(reader: BinaryIO) -> tuple[int, bytes] | None:
    start = reader.read(2)
    if len(start) < 2:
        return None
    length = start[1] & 0x7F
    if length == 126:
        (length,) = struct.unpack(">H", reader.read(2))
    elif length == 127:
        (length,) = struct.unpack(">Q", reader.read(8))
    if length > PAYLOAD_LIMIT or not start[1] & 0x80:  # clients must mask (section 5.1)
        return None
    mask = reader.read(4)
    payload = reader.read(length)
    return (start[0], _unmasked(payload, mask)) if len(payload) == length else None


def _unmasked(payload: bytes, mask: bytes) -> bytes:
    size = len(payload)
    key = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")).to_bytes(size, "big")


def _header(first: int, length: int) -> bytes:
    if length < 126:
        return bytes((first, length))
    if length < 1 << 16:
        return bytes((first, 126)) + struct.pack(">H", length)
    return bytes((first, 127)) + struct.pack(">Q", length)
