"""Whole messages over a TLS connection: `length:u16` and that many bytes (docs/protocol.md 7)."""

from __future__ import annotations

import asyncio

from tunnel.errors import LostError
from tunnel.messages import MAX_MESSAGE as MAX_MESSAGE
from tunnel.messages import MessageParser, serialize_message
from tunnel.tls_socket import TlsSocket


class TlsMessages:
    """A Receiver that turns a TlsSocket into `await receive()` and `send()`."""

    def __init__(self, tls: TlsSocket) -> None:
        self._tls = tls
        self._parser = MessageParser()
        self._news = asyncio.Event()
        self._lost: LostError | None = None
        tls.start(self)

    def send(self, message: bytes) -> None:
        """Queue one message; a few of at most 8 KiB fit the socket's buffer."""
        self._tls.write(serialize_message(message))

    async def receive(self) -> bytes:
        """The next message. Raises LostError, or RemoteProtocolError for one that is too long."""
        while True:
            message = self._parser.maybe_message()
            if message is not None:
                self._tls.resume_reading()
                return message
            if self._lost is not None:
                raise self._lost
            self._news.clear()
            await self._news.wait()

    def close(self) -> None:
        """End the connection in an orderly way."""
        self._tls.close()

    def data_received(self, data: memoryview) -> None:
        """See Receiver."""
        self._parser.receive_data(data)
        if self._parser.is_full:
            self._tls.pause_reading()
        self._news.set()

    def writable(self) -> None:
        """See Receiver."""

    def hung_up(self) -> None:
        """See Receiver."""

    def connection_lost(self, error: Exception | None) -> None:
        """See Receiver."""
        self._lost = LostError(f"the connection was lost: {error or 'closed by the other side'}")
        self._lost.__cause__ = error  # a TLS alert may say more
        self._news.set()
