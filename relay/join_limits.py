"""How many joins a relay lets through: the same for every name, shared or not. Pure."""

from __future__ import annotations

from collections import OrderedDict

from relay.source_buckets import SourceBuckets
from tunnel.names import ShareName
from tunnel.source import is_loopback, site_of

JOIN_BURST = 20  # joins of one source at once: a class behind one NAT
JOIN_REFILL_SECONDS = 3.0  # for one more
# Joins at one name begin this far apart. A share keeps three connections parked for them and needs
# four round trips for another: a crowd would else see a name that is shared run short of them.
SPACING = 0.2  # seconds
MAX_WAIT = 4.0  # seconds; below the 5 s that a guest gives a handshake
# Who has joined at a name lately waits no longer than half of that: the rest of the line is kept
# for others, so that one who goes on and on keeps nobody else out.
AGAIN_MAX_WAIT = MAX_WAIT / 2
LATELY = 60.0  # seconds
MAX_LATELY = 8_192  # pairs of name and site
MAX_PACED = 4_096  # names; each is forgotten MAX_WAIT after its last join at the latest


class JoinLimits:
    """Lets joins through; `leave` for each that `enter` did not refuse."""

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._under_way = 0
        self._sources = SourceBuckets(JOIN_BURST, JOIN_REFILL_SECONDS)
        self._sites = SourceBuckets(JOIN_BURST, JOIN_REFILL_SECONDS)
        self._lately: OrderedDict[tuple[ShareName, str], float] = OrderedDict()
        self._next: OrderedDict[ShareName, float] = OrderedDict()  # when a name's next may begin

    def enter(self, name: ShareName, source: str, now: float) -> float | None:
        """Seconds that a join has to wait before it begins; None: it is refused."""
        if self._under_way >= self._at_once or not self._take(source, now):
            return None
        begins = max(now, self._next.get(name, now))
        most = AGAIN_MAX_WAIT if self._was_here(name, source, now) else MAX_WAIT
        if begins - now > most or (name not in self._next and not self._make_room(now)):
            return None
        self._next[name] = begins + SPACING
        self._next.move_to_end(name)
        self._under_way += 1
        return begins - now

    def leave(self) -> None:
        """A join has ended."""
        self._under_way -= 1

    def _take(self, source: str, now: float) -> bool:
        site = site_of(source)
        return self._sources.take(source, now) and (site == source or self._sites.take(site, now))

    def _was_here(self, name: ShareName, source: str, now: float) -> bool:
        """Whether somebody of the same site joined at `name` lately; from now on that is so."""
        if is_loopback(source):
            return False
        key = name, site_of(source)
        at = self._lately.pop(key, -LATELY)
        self._lately[key] = now
        while len(self._lately) > MAX_LATELY:
            self._lately.popitem(last=False)
        return now - at < LATELY

    def _make_room(self, now: float) -> bool:
        while self._next and next(iter(self._next.values())) <= now:
            self._next.popitem(last=False)
        return len(self._next) < MAX_PACED
