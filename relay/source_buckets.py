"""A limit for each source of visitors. Pure."""

from __future__ import annotations

from collections import OrderedDict

from tunnel.source import is_loopback

MAX_SOURCES = 8_192  # remembered; forgetting one gives it a full bucket


class SourceBuckets:
    """A token bucket for each source (as from `source_of`). Loopback has no limit: it is a proxy,
    or this machine."""

    def __init__(self, size: int, refill_seconds: float) -> None:
        self._size, self._refill = size, refill_seconds
        self._sources: OrderedDict[str, tuple[float, float]] = OrderedDict()  # tokens, at

    def has(self, source: str, now: float) -> bool:
        """Whether a token is left."""
        if source not in self._sources:
            return True  # nearly always: its bucket is full
        return self._tokens(source, now) >= 1 or is_loopback(source)

    def take(self, source: str, now: float) -> bool:
        """Spend a token; False if there is none."""
        tokens = self._tokens(source, now)
        taken = tokens >= 1
        self._sources[source] = (tokens - taken, now)
        self._sources.move_to_end(source)
        while len(self._sources) > MAX_SOURCES:
            self._sources.popitem(last=False)
        return taken or is_loopback(source)

    def _tokens(self, source: str, now: float) -> float:
        tokens, at = self._sources.get(source, (float(self._size), now))
        return min(self._size, tokens + (now - at) / self._refill)
