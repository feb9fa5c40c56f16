"""Whole messages in a stream of bytes: `length:u16` and that many bytes (docs/protocol.md 7). Pure.

Their counterparts with a connection are tunnel/tls_messages.py and tunnel/stream_messages.py.
"""

from __future__ import annotations

import struct

from tunnel.errors import RemoteProtocolError

MAX_MESSAGE = 8 * 1024  # bytes; a certificate request with its PAKE message is under 1 KiB
_LENGTH = struct.Struct(">H")


def serialize_message(message: bytes) -> bytes:
    """`message` with its length before it. The other side takes at most MAX_MESSAGE bytes."""
    return _LENGTH.pack(len(message)) + message


class MessageParser:
    """Takes bytes as they come, gives whole messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()  # bounded by a user that stops reading while `is_full`

    @property
    def is_full(self) -> bool:
        """Whether there is a whole message, or one that is too long: read no more for now."""
        return len(self._buffer) >= _LENGTH.size + MAX_MESSAGE

    def receive_data(self, data: bytes | bytearray | memoryview) -> None:
        """Keep `data`."""
        self._buffer += data

    def maybe_message(self) -> bytes | None:
        """The next message. Raises RemoteProtocolError for one that is too long."""
        if len(self._buffer) < _LENGTH.size:
            return None
        (length,) = _LENGTH.unpack_from(self._buffer)
        if length > MAX_MESSAGE:
            raise RemoteProtocolError(f"message of {length} bytes, at most {MAX_MESSAGE}")
        end = _LENGTH.size + length
        if len(self._buffer) < end:
            return None
        message = bytes(self._buffer[_LENGTH.size : end])
        del self._buffer[:end]
        return message
