"""What one guest types, at the pace at which a terminal takes it. Pure.

The sharer's keys do not pass here, so they never stand behind a guest's.
"""

from __future__ import annotations

BURST = 16 * 1024  # bytes: a file that is pasted
PER_SECOND = 8 * 1024  # bytes; nobody types a hundredth of it
MAX_WAITING = 64 * 1024  # bytes; beyond it, it is a flood, and thrown away
STEP = 1_024  # bytes that are let through at once, so that other guests' come between


class InputBucket:
    """A token bucket with what waits for tokens. Times are seconds of any one clock."""

    def __init__(self, now: float) -> None:
        self._tokens = float(BURST)
        self._at = now
        self._waiting = bytearray()
        self.thrown_away = 0  # bytes

    def receive_data(self, data: bytes) -> None:
        """Keep `data`, as far as there is room."""
        taken = data[: MAX_WAITING - len(self._waiting)]
        self._waiting += taken
        self.thrown_away += len(data) - len(taken)

    def take(self, now: float) -> bytes:
        """What may be typed now: STEP bytes at most; ask again until it is empty."""
        self._tokens = min(BURST, self._tokens + (now - self._at) * PER_SECOND)
        self._at = now
        size = min(int(self._tokens), STEP, len(self._waiting))
        taken = bytes(self._waiting[:size])
        del self._waiting[:size]
        self._tokens -= size
        return taken

    def wait(self) -> float | None:
        """Seconds until `take` gives something again; None: nothing waits."""
        if not self._waiting:
            return None
        missing = min(STEP, len(self._waiting)) - self._tokens
        return max(0.0, missing / PER_SECOND)

    def clear(self) -> None:
        """The right to type is gone: so is what was to be typed."""
        self._waiting.clear()
