"""The last requests of a share's visitors, kept while somebody looks."""

from __future__ import annotations

import contextlib
from collections import OrderedDict, deque
from collections.abc import Iterator

from tunnel.http_heads import RequestHead
from vshare.dashboard.exchange import Exchange

MAX_EXCHANGES = 1_000  # of which a person looks at a few
MAX_KEPT = 64 * 1024 * 1024  # bytes of all heads and bodies together


class RequestLog:
    """A Gallery (vshare/web/rules.py) that keeps what it sees: the newest MAX_EXCHANGES, or fewer
    where they are large. What changed is found by `version`, which grows with each change: who
    looks is told nothing, and asks when it has time."""

    def __init__(self) -> None:
        self._kept: deque[Exchange] = deque()  # without a gap in their numbers
        self._by_change: OrderedDict[int, Exchange] = OrderedDict()  # the latest change last
        self._lookers = 0
        self._next = 1
        self.version = 0
        self.size = 0  # bytes

    @property
    def is_empty(self) -> bool:
        """See Gallery."""
        return not self._lookers

    @contextlib.contextmanager
    def look(self) -> Iterator[None]:
        """Somebody looks while this is entered."""
        self._lookers += 1
        try:
            yield
        finally:
            self._lookers -= 1

    def watch(self, site: str, head: RequestHead) -> Exchange:
        """See Gallery."""
        return self.begin(site, head)

    def begin(self, site: str, head: RequestHead, replay_of: int = 0) -> Exchange:
        """Keep a request that begins now; `replay_of` is the number of the one it repeats."""
        exchange = Exchange(self._next, site, head, replay_of, self._changed)
        self._next += 1
        self._kept.append(exchange)
        self._changed(exchange, exchange.size)
        if len(self._kept) > MAX_EXCHANGES:
            self._drop_oldest()
        return exchange

    def _changed(self, exchange: Exchange, grown: int) -> None:
        if not exchange.is_kept:
            return
        self.version += 1
        exchange.version = self.version
        self._by_change[exchange.number] = exchange
        self._by_change.move_to_end(exchange.number)
        self.size += grown
        while self.size > MAX_KEPT:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        oldest = self._kept.popleft()
        del self._by_change[oldest.number]
        self.size -= oldest.size
        oldest.forget()

    @property
    def oldest(self) -> int:
        """The number of the oldest that is kept, or of the next one."""
        return self._kept[0].number if self._kept else self._next

    def find(self, number: int) -> Exchange | None:
        """The request with this number, if it is still kept."""
        at = number - self.oldest
        return self._kept[at] if 0 <= at < len(self._kept) else None

    def changes(self, since: int) -> list[tuple[int, Exchange]]:
        """What changed after the version `since`, with its version, in that order."""
        changed = []
        for exchange in reversed(self._by_change.values()):
            if exchange.version <= since:
                break
            changed.append((exchange.version, exchange))
        changed.reverse()
        return changed
