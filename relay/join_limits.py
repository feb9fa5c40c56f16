"""How many joins a relay lets through: the same for every name, shared or not. Pure."""

from __future__ import annotations

from collections import OrderedDict

from relay.source_buckets import SourceBuckets
from tunnel.names import ShareName

JOIN_BURST = 20  # joins of one source at once: a class behind one NAT
JOIN_REFILL_SECONDS = 3.0  # for one more
# Joins at one name begin this far apart. A share keeps three connections parked for them and needs
# four round trips for another: a crowd would else see a name that is shared run short of them.
SPACING = 0.2  # seconds
MAX_WAIT = 4.0  # seconds; below the 5 s that a guest gives a handshake
MAX_PACED = 4_096  # names; each is forgotten MAX_WAIT after its last join at the latest


class JoinLimits:
    """Lets joins through; `leave` for each that `enter` did not refuse."""

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._under_way = 0
        self._sources = SourceBuckets(JOIN_BURST, JOIN_REFILL_SECONDS)
        self._next: OrderedDict[ShareName, float] = OrderedDict()  # when a name's next may begin

    def enter(self, name: ShareName, source: str, now: float) -> float | None:
        """Seconds that a join has to wait before it begins; None: it is refused."""
        if self._under_way >= self._at_once or not self._sources.take(source, now):
            return None
        begins = max(now, self._next.get(name, now))
        if begins - now > MAX_WAIT or (name not in self._next and not self._make_room(now)):
            return None
        self._next[name] = begins + SPACING
        self._next.move_to_end(name)
        self._under_way += 1
        return begins - now

    def leave(self) -> None:
        """A join has ended."""
        self._under_way -= 1

    def _make_room(self, now: float) -> bool:
        while self._next and next(iter(self._next.values())) <= now:
            self._next.popitem(last=False)
        return len(self._next) < MAX_PACED
