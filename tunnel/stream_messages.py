"""Whole messages over a stream: `length:u16` and that many bytes (docs/protocol.md 8.6).

The way of the TLS connection that joins (tunnel/tls_messages.py), inside the tunnel.
"""

from __future__ import annotations

import asyncio

from tunnel.codes import Code
from tunnel.ends import Bytes, End
from tunnel.errors import LostError
from tunnel.messages import MessageParser, serialize_message


class StreamMessages:
    """Turns an open End, of either side, into `send()` and `await receive()`.

    It takes the end over; whoever made this calls `close`.
    """

    def __init__(self, end: End) -> None:
        self._end = end
        self._inbox = _Inbox()
        self._inbox.peer = end  # before the end delivers what came early
        end.link(self._inbox)

    def send(self, message: bytes) -> None:
        """Queue one message of at most 8 KiB; to a stream that has ended it is sent in vain."""
        self._end.send(serialize_message(message))

    async def receive(self) -> bytes:
        """The next message. Raises LostError, or RemoteProtocolError for one that is too long."""
        return await self._inbox.receive()

    def close(self) -> None:
        """End the stream; what was sent still arrives. Idempotent."""
        self._end.send_eof()
        self._end.reset(Code.CLOSED)  # nothing, where the other side is done as well


class _Inbox(End):
    """Where the stream delivers; one message and a read at most are kept."""

    def __init__(self) -> None:
        super().__init__()
        self._parser = MessageParser()
        self._news = asyncio.Event()
        self._lost: LostError | None = None

    async def receive(self) -> bytes:
        while True:
            message = self._parser.maybe_message()
            if message is not None:
                self.peer.resume_reading()
                return message
            if self._lost is not None:
                raise self._lost
            self._news.clear()
            await self._news.wait()

    def send(self, data: Bytes) -> None:
        """See End.send."""
        self._parser.receive_data(data)
        if self._parser.is_full:
            self.peer.pause_reading()
        self._news.set()

    def send_eof(self) -> None:
        """See End.send_eof."""
        self._lose("the other side ended the exchange")

    def reset(self, code: Code) -> None:
        """See End.reset."""
        why = code.name.lower().replace("_", "-")
        self._lose(f"the exchange was ended: {why}")
        self.closed(code)

    def _lose(self, text: str) -> None:
        if self._lost is None:
            self._lost = LostError(text)
        self._news.set()

    def pause_reading(self) -> None:
        """Nothing is read from here."""

    def resume_reading(self) -> None:
        """Nothing is read from here."""
