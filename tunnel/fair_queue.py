"""Datagrams of several flows that wait for one way, few and not for long. Pure.

The connect VM's agent has this file as well, so it imports nothing of ours.
"""

from collections import OrderedDict, deque
from collections.abc import Callable

OVERHEAD = 64  # bytes that a datagram costs besides its own, so that empty ones count as well
MAX_AGE = 2.0  # seconds; what waited longer is of no use to who sent it, who has sent it again


class FairQueue:
    """At most `limit` bytes; `on_drop(flow)` is told of each datagram that is thrown away.

    Flows take turns. What is too much is the oldest of a flow that has more than its share, so
    one that floods loses its own; and what is older than MAX_AGE goes when its turn comes.
    """

    def __init__(self, limit: int, on_drop: Callable[[int], None]) -> None:
        self._limit = limit
        self._on_drop = on_drop
        self._flows: OrderedDict[int, deque[tuple[float, bytes]]] = OrderedDict()
        self._sizes: dict[int, int] = {}
        self._fattest = 0  # a flow; it may have less than it had
        self.size = 0  # bytes, with OVERHEAD for each

    def push(self, flow: int, data: bytes, now: float) -> None:
        """Add a datagram; `now` in seconds, of the clock that `pop` is given."""
        if flow not in self._flows:
            self._flows[flow] = deque()
            self._sizes[flow] = 0
        self._flows[flow].append((now, data))
        self._sizes[flow] += len(data) + OVERHEAD
        self.size += len(data) + OVERHEAD
        if self._sizes[flow] > self._sizes.get(self._fattest, 0):
            self._fattest = flow
        while self.size > self._limit:
            self._drop_one()

    def pop(self, now: float) -> bytes | None:
        """The next flow's oldest datagram that is not too old; None when there is none."""
        while self._flows:
            flow = next(iter(self._flows))
            then, data = self._take(flow)
            if flow in self._flows:
                self._flows.move_to_end(flow)
            if now - then <= MAX_AGE:
                return data
            self._on_drop(flow)
        return None

    def drain(self, flow: int) -> list[bytes]:
        """All that waits of one flow, which is then forgotten."""
        waiting = self._flows.pop(flow, ())
        self.size -= self._sizes.pop(flow, 0)
        return [data for _, data in waiting]

    def _drop_one(self) -> None:
        if self._sizes.get(self._fattest, 0) * len(self._sizes) < self.size:  # below the average
            self._fattest = max(self._sizes, key=self._sizes.__getitem__)
        flow = self._fattest
        self._take(flow)
        self._on_drop(flow)

    def _take(self, flow: int) -> tuple[float, bytes]:
        queue = self._flows[flow]
        taken = queue.popleft()
        self.size -= len(taken[1]) + OVERHEAD
        self._sizes[flow] -= len(taken[1]) + OVERHEAD
        if not queue:
            del self._flows[flow], self._sizes[flow]
        return taken
