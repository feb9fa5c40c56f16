"""Bytes that were sent and are not acknowledged yet, kept to be sent again. Pure.

They lie in slots that come from a free list: moving bytes costs a copy and no allocation, and a
stream whose bytes are all acknowledged holds nothing. Offsets count from the stream's beginning.
"""

from __future__ import annotations

from collections import deque

from tunnel.errors import LocalProtocolError

Bytes = bytes | bytearray | memoryview

SLOT = 32 * 1024  # bytes: what a stream with a few bytes under way holds
MAX_FREE = 128  # slots kept for the next stream that moves: 4 MiB

_free: list[memoryview] = []  # list's pop and append are atomic, so threads may share it


class Replay:
    """The bytes from offset `start` up to `end` of one direction of a stream."""

    def __init__(self) -> None:
        self._slots: deque[memoryview] = deque()
        self._base = 0  # offset of the first slot's first byte
        self.start = 0
        self.end = 0

    @property
    def held(self) -> int:
        """How many bytes are kept."""
        return self.end - self.start

    def append(self, data: Bytes) -> None:
        """Keep a copy of `data`."""
        view = memoryview(data)
        at, size = 0, len(view)
        room = self._base + SLOT * len(self._slots) - self.end
        while at < size:
            if not room:
                self._slots.append(_free.pop() if _free else memoryview(bytearray(SLOT)))
                room = SLOT
            count = min(room, size - at)
            used = SLOT - room
            self._slots[-1][used : used + count] = view[at : at + count]
            at += count
            room -= count
        self.end += size

    def release(self, offset: int) -> None:
        """Forget what is below `offset`. Raises LocalProtocolError outside of start to end."""
        if not self.start <= offset <= self.end:
            raise LocalProtocolError(f"offset {offset} of {self.start} to {self.end}")
        self.start = offset
        whole = len(self._slots) if offset == self.end else (offset - self._base) // SLOT
        for _ in range(whole):
            slot = self._slots.popleft()
            if len(_free) < MAX_FREE:
                _free.append(slot)
        self._base = offset if offset == self.end else self._base + whole * SLOT

    def piece(self, offset: int) -> memoryview:
        """Some bytes from `offset` on, valid until they are released; empty at the end."""
        if not self.start <= offset <= self.end:
            raise LocalProtocolError(f"offset {offset} of {self.start} to {self.end}")
        if offset == self.end:
            return memoryview(b"")
        index, used = divmod(offset - self._base, SLOT)
        return self._slots[index][used : used + min(SLOT - used, self.end - offset)]

    def clear(self) -> None:
        """Forget everything."""
        self.release(self.end)
