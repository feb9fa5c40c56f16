"""What stands for the machine until a visitor's request was let in.

So the machine hears nothing of those who are not let in, not even a connection: some servers have a
worker wait on each.
"""

from __future__ import annotations

import asyncio

from tunnel.codes import Code
from tunnel.ends import Bytes, End


class Waiting(End):
    """Keeps the begin of the first request: what one read delivers, and what was read already."""

    def __init__(self) -> None:
        super().__init__()
        self.data = bytearray()
        self._has_eof = False
        self._decided: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def has_request(self) -> bool:
        """Whether there is something for the machine, once that is known. False: link it as if it
        were the machine; it is done, or will be with the visitor."""
        await self._decided
        return bool(self.data) and not self.is_done

    def hand_over(self, machine: End) -> None:
        """All to the machine, which is to be linked in this one's place."""
        machine.peer = self.peer
        machine.send(self.data)
        if self._has_eof:
            machine.send_eof()

    def send(self, data: Bytes) -> None:
        """See End.send."""
        self.data += data
        self.peer.pause_reading()
        self._decide()

    def send_eof(self) -> None:
        """See End.send_eof: without a request there is no answer."""
        self._has_eof = True
        if not self.data:
            self.peer.send_eof()
            self.closed(None)
        self._decide()

    def reset(self, code: Code) -> None:
        """See End.reset: the visitor has gone, or was answered."""
        self.closed(code)
        self._decide()

    def pause_reading(self) -> None:
        """Nothing is read from here."""

    def resume_reading(self) -> None:
        """Nothing is read from here."""

    def _decide(self) -> None:
        if not self._decided.done():
            self._decided.set_result(None)
