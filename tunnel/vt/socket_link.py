"""A connection to another program of this host's, as what a Seat talks over."""

from __future__ import annotations

import asyncio

from tunnel.errors import LostError

READ = 64 * 1024  # bytes at once


class SocketLink:
    """See tunnel.vt.seat.Link. `noun` is what is at the other end."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, noun: str
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._noun = noun

    def write(self, data: bytes) -> None:
        """See Link."""
        if not self._writer.is_closing():
            self._writer.write(data)

    async def drain(self) -> None:
        """See Link."""
        try:
            await self._writer.drain()
        except OSError as error:
            raise self._lost() from error

    async def receive(self) -> bytes:
        """See Link."""
        try:
            data = await self._reader.read(READ)
        except OSError as error:
            raise self._lost() from error
        if not data:
            raise self._lost()
        return data

    def close(self) -> None:
        """See Link."""
        self._writer.close()

    def _lost(self) -> LostError:
        return LostError(f"the {self._noun} has ended")
