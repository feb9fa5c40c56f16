"""What a program wrote lately, for guests who get it a moment after the sharer. Pure."""

from __future__ import annotations

from tunnel.terminal_messages import WINDOW, MessageType, serialize_long

MAX_KEPT = WINDOW  # bytes: who is further behind than that is shown the present instead


class OutputLog:
    """Kept by offset: how many bytes were written before, since the terminal began. What is added
    at once is whole characters and sequences, and only where it ends may a guest have got to."""

    def __init__(self) -> None:
        self.end = 0
        self._begin = 0
        self._kept = bytearray()
        self._encoded: tuple[int, int, list[bytes]] = (0, 0, [])

    def add(self, data: bytes) -> None:
        """The program wrote `data`."""
        if len(self._kept) + len(data) > MAX_KEPT:
            self.forget(self.end)
        self._kept += data
        self.end += len(data)

    def forget(self, offset: int) -> None:
        """Nobody is to get any more what was written before `offset`."""
        if offset > self._begin:
            del self._kept[: offset - self._begin]
            self._begin = offset

    def has(self, offset: int) -> bool:
        """Whether everything that was written since is here."""
        return offset >= self._begin

    def since(self, offset: int) -> list[bytes]:
        """All of it in messages, which were made once for those who ask for the same; `has` was
        asked before."""
        if offset == self.end:
            return []
        if self._encoded[:2] != (offset, self.end):
            data = bytes(self._kept[offset - self._begin :])
            self._encoded = offset, self.end, list(serialize_long(MessageType.OUTPUT, data))
        return self._encoded[2]
