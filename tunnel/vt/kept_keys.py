"""What a person types while there is no way to the share: kept until there is one. Pure."""

from __future__ import annotations

MAX_KEPT = 4_096  # bytes: some minutes of typing
THROWN_AWAY = "What you typed while the connection was lost was thrown away: you may not type now."
NOT_ALL = "Not all that you typed while the connection was lost was kept."
UNSURE = "What you typed just before the connection was lost may not have arrived."


class KeptKeys:
    """`typed` and `back` give what is to be sent. Once too much was typed, what comes after it is
    not kept either: no line arrives without its beginning."""

    def __init__(self) -> None:
        self._is_up = False
        self._kept = bytearray()
        self._is_full = False
        self._is_unsure = False  # whether the share has said nothing since it was sent something

    @property
    def is_up(self) -> bool:
        """Whether what is typed is sent at once."""
        return self._is_up

    def typed(self, data: bytes) -> bytes:
        """The person typed `data`."""
        if self._is_up:
            self._is_unsure = True
            return data
        self._is_full = self._is_full or len(self._kept) + len(data) > MAX_KEPT
        if not self._is_full:
            self._kept += data
        return b""

    def heard(self) -> None:
        """The share said something: it is there, and so most likely is what it was sent."""
        if self._is_up:
            self._is_unsure = False

    def lost(self) -> None:
        """There is no way any more."""
        self._is_up = False

    def back(self, *, may_type: bool) -> tuple[bytes, list[str]]:
        """There is one again, on which the person may type or not: what to send, and what the
        person is told."""
        kept = bytes(self._kept) if may_type else b""
        told = [UNSURE] if self._is_unsure else []
        if self._kept and not may_type:
            told.append(THROWN_AWAY)
        elif self._is_full:
            told.append(NOT_ALL)
        self._kept.clear()
        self._is_up, self._is_full, self._is_unsure = True, False, bool(kept)
        return kept, told
