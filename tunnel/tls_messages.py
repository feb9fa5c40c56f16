"""Whole messages over a TLS connection: `length:u16` and that many bytes (docs/protocol.md 7)."""

from __future__ import annotations

import asyncio
import struct

from tunnel.errors import LostError, RemoteProtocolError
from tunnel.tls_socket import TlsSocket

MAX_MESSAGE = 8 * 1024  # a certificate request with its PAKE message is under 1 KiB
_LENGTH = struct.Struct(">H")


class TlsMessages:
    """A Receiver that turns a TlsSocket into `await receive()` and `send()`."""

    def __init__(self, tls: TlsSocket) -> None:
        self._tls = tls
        self._buffer = bytearray()  # bounded: reading is paused above one message
        self._news = asyncio.Event()
        self._lost: LostError | None = None
        tls.start(self)

    def send(self, message: bytes) -> None:
        """Queue one message; a few of at most 8 KiB fit the socket's buffer."""
        self._tls.write(_LENGTH.pack(len(message)) + message)

    async def receive(self) -> bytes:
        """The next message. Raises LostError, or RemoteProtocolError for one that is too long."""
        while True:
            message = self._maybe_message()
            if message is not None:
                return message
            if self._lost is not None:
                raise self._lost
            self._news.clear()
            await self._news.wait()

    def close(self) -> None:
        """End the connection in an orderly way."""
        self._tls.close()

    def _maybe_message(self) -> bytes | None:
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
        self._tls.resume_reading()
        return message

    def data_received(self, data: memoryview) -> None:
        """See Receiver."""
        self._buffer += data
        if len(self._buffer) > MAX_MESSAGE:
            self._tls.pause_reading()
        self._news.set()

    def writable(self) -> None:
        """See Receiver."""

    def connection_lost(self, error: Exception | None) -> None:
        """See Receiver."""
        self._lost = LostError(f"the connection was lost: {error or 'closed by the other side'}")
        self._lost.__cause__ = error  # a TLS alert may say more
        self._news.set()
