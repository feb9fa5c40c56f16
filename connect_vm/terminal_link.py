"""A stream of protocol `terminal` (docs/protocol.md 8.9), as what a Seat talks over."""

from __future__ import annotations

import asyncio

from tunnel.codes import Code
from tunnel.ends import Bytes, End
from tunnel.errors import LostError

# Bytes kept of what came and was not looked at yet: the share has 64 KiB of output under way, and
# a screen may be longer; whoever sends more waits.
MAX_KEPT = 256 * 1024


class StreamLink(End):
    """See tunnel.vt.seat.Link. `stream` was just opened."""

    def __init__(self, stream: End) -> None:
        super().__init__()
        self._kept = bytearray()
        self._came, self._room = asyncio.Event(), asyncio.Event()
        self._room.set()
        self._stream = stream
        self.peer = stream  # before it delivers what came early
        stream.link(self)

    # -- for the seat

    def write(self, data: bytes) -> None:
        """See Link."""
        self._stream.send(data)

    async def drain(self) -> None:
        """See Link."""
        await self._room.wait()
        if self.is_done:
            raise self._lost()

    async def receive(self) -> bytes:
        """See Link."""
        while not self._kept:
            if self.is_done:
                raise self._lost()
            self._came.clear()
            await self._came.wait()
        data = bytes(self._kept)
        self._kept.clear()
        if not self.is_done:
            self._stream.resume_reading()
        return data

    def close(self) -> None:
        """See Link."""
        self._stream.reset(Code.CLOSED)

    def _lost(self) -> LostError:
        return LostError("the stream of the terminal was lost", "try again")

    # -- for the stream

    def send(self, data: Bytes) -> None:
        """See End.send."""
        self._kept += data
        if len(self._kept) >= MAX_KEPT:
            self._stream.pause_reading()
        self._came.set()

    def send_eof(self) -> None:
        """See End.send_eof: nothing comes any more, so it is over."""
        self._over(None)

    def reset(self, code: Code) -> None:
        """See End.reset."""
        self._over(code)

    def _over(self, code: Code | None) -> None:
        self.closed(code)
        self._came.set()
        self._room.set()

    def pause_reading(self) -> None:
        """See End.pause_reading: the connection is full."""
        if not self.is_done:
            self._room.clear()

    def resume_reading(self) -> None:
        """See End.resume_reading."""
        self._room.set()
