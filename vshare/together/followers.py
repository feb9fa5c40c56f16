"""Guests who follow the board, each by a stream of protocol `follow` (docs/protocol.md 8.8).

The counterpart is connect_vm/following.py.
"""

from __future__ import annotations

import asyncio
from collections import Counter

from tunnel.codes import Code
from tunnel.connection import Connection
from tunnel.ends import Bytes, End, bridge
from tunnel.errors import RefusedError
from tunnel.identity import Role
from tunnel.stream_end import StreamEnd
from vshare.guests import Guest
from vshare.together.board import Board

MERGE = 0.1  # seconds that changes wait for others, so that a burst of them is told once
MAX_FOLLOWS = 8  # streams of one guest: it needs one, and another while that is found to be dead


class Followers:
    """Serves these streams."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._count: Counter[str] = Counter()  # by the guest's fingerprint

    async def serve(self, connection: Connection, guest: Guest, end: StreamEnd) -> None:
        """Tell `guest` what is on the board until it goes. Raises RefusedError."""
        if guest.role is not Role.GUEST:
            raise RefusedError(Code.NOT_ALLOWED, "the share's news are for guests")
        if self._count[guest.fingerprint] >= MAX_FOLLOWS:
            raise RefusedError(Code.BUSY, f"more than {MAX_FOLLOWS} streams that follow")
        self._count[guest.fingerprint] += 1
        connection.accept(end)
        try:
            await bridge(end, FollowEnd(self._board, guest))
        finally:
            self._count[guest.fingerprint] -= 1
            self._count += Counter()  # drops those that are 0


class FollowEnd(End):
    """What a guest's stream of protocol `follow` is bridged with: it sends lines, and takes
    nothing."""

    def __init__(self, board: Board, guest: Guest) -> None:
        super().__init__()
        self._board, self._guest = board, guest
        self._version = 0
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.Handle | None = None
        self._paused = True
        self._unsubscribe = board.subscribe(self._changed)

    def _changed(self) -> None:
        if self._timer is None and not self._paused:
            self._timer = self._loop.call_later(MERGE, self._deliver)

    def _deliver(self) -> None:
        self._timer = None
        while not self._paused and not self.is_done:
            found = self._board.line_since(self._version, self._guest)
            if found is None:
                return
            self._version, line = found
            self.peer.send(line)

    def pause_reading(self) -> None:
        """See End.pause_reading."""
        self._paused = True

    def resume_reading(self) -> None:
        """See End.resume_reading: at once with what changed meanwhile."""
        if self._paused:
            self._paused = False
            if self._timer is None:
                self._timer = self._loop.call_soon(self._deliver)

    def send(self, data: Bytes) -> None:
        """See End.send: a guest has nothing to say here."""
        self.bytes_sent += len(data)

    def send_eof(self) -> None:
        """See End.send_eof: the guest follows no more."""
        self._end(None)
        self.peer.send_eof()

    def reset(self, code: Code) -> None:
        """See End.reset."""
        self._end(code)

    def _end(self, code: Code | None) -> None:
        if self.is_done:
            return
        self._unsubscribe()
        if self._timer is not None:
            self._timer.cancel()
        self.closed(code)
