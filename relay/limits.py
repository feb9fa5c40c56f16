"""How many connections a relay takes, from whom, and what it keeps in reserve."""

from __future__ import annotations

import contextlib
import functools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from relay.source_buckets import SourceBuckets
from tunnel.errors import LostError
from tunnel.source import is_loopback, site_of

RESERVE = 48  # descriptors: database, epolls, libraries, log, standard streams, a margin
PIPE_SHARE = 16  # one in so many descriptors may be a pipe (each has two)
MIN_PIPES = 4
MAX_UNDECIDED = 1024  # connections whose first bytes are awaited; each lives 5 s at most
# TLS handshakes of shares under way: what one core does in about a second. After a restart
# thousands come at once; who is told at once to try later costs a tenth of who gives up waiting.
MAX_HANDSHAKES = 512
# Of what is limited for all, and is over within seconds, one source's part at most: a quarter of
# the first bytes that are awaited, half of the handshakes of shares (a site of many comes back).
UNDECIDED_PART = 4
HANDSHAKE_PART = 2
# Handshakes that end here, of one source: 1 ms of a core each, so that one keeps a tenth of a core
# busy at most. A thousand shares behind one NAT come back at once; a browser needs six.
HANDSHAKE_BURST = 1_000
HANDSHAKE_REFILL_SECONDS = 0.01  # for one more
MAX_VISITORS = 1024  # of one share
MAX_JOINS = 1024  # at all names together, of shares and of none; a stranger's takes 20 s at most


LEAST = 8  # of anything, for one source at a relay with few descriptors


@functools.lru_cache(maxsize=4_096)
def _names_of(source: str) -> tuple[str, ...]:
    """As what a source (as from `source_of`) counts: itself, and the network that it can take
    others from; nothing, where it has no limit."""
    if not source or is_loopback(source):
        return ()
    site = site_of(source)
    return (source,) if site == source else (source, site)


def _discount(counts: Counter[str], name: str) -> None:
    """One less; nothing is kept of who has none."""
    counts[name] -= 1
    if counts[name] <= 0:
        del counts[name]


@dataclass(frozen=True, slots=True)
class Budget:
    """What a process with so many file descriptors can afford."""

    connections: int
    pipes: int
    undecided: int
    per_source: int
    per_share: int
    joins: int = MAX_JOINS


def budget_for(descriptors: int) -> Budget:
    """The budget of a process that may have `descriptors` open files (getrlimit(2))."""
    pipes = max(MIN_PIPES, descriptors // PIPE_SHARE // 2)
    connections = max(8, descriptors - RESERVE - 2 * pipes)
    return Budget(
        connections=connections,
        pipes=pipes,
        undecided=min(MAX_UNDECIDED, max(8, connections // 2)),
        per_source=max(8, connections // 2),
        per_share=min(MAX_VISITORS, max(8, connections // 3)),
        joins=min(MAX_JOINS, max(8, connections // 4)),
    )


class Admission:
    """Counts connections. Loopback has no limit per source: it is a proxy, or this machine. An
    IPv6 /48 has the limits of one source, too: whoever has one has all of its /64."""

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.connections = 0
        self.undecided = 0
        self._by_source: Counter[str] = Counter()
        self._undecided_by: Counter[str] = Counter()
        self._shaking_by: Counter[str] = Counter()
        self._handshake_buckets = SourceBuckets(HANDSHAKE_BURST, HANDSHAKE_REFILL_SECONDS)
        self.handshakes = 0
        # What is counted for the operator (relay/operation/metrics.py), by reason and by outcome.
        self.handshakes_failed: Counter[str] = Counter()
        self.joins: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()  # visitors

    def enter(self, source: str) -> bool:
        """Count a new connection, undecided yet; False if it must be turned away."""
        budget = self.budget
        if self.connections >= budget.connections or self.undecided >= budget.undecided:
            return False
        undecided = max(LEAST, budget.undecided // UNDECIDED_PART)
        for each in _names_of(source):
            if self._by_source[each] >= budget.per_source or self._undecided_by[each] >= undecided:
                return False
        self.connections += 1
        self.undecided += 1
        for each in _names_of(source):
            self._by_source[each] += 1
            self._undecided_by[each] += 1
        return True

    def decided(self, source: str) -> None:
        """One more connection is past its first bytes."""
        self.undecided -= 1
        for each in _names_of(source):
            _discount(self._undecided_by, each)

    def leave(self, source: str) -> None:
        """A connection that entered (and was decided) has ended."""
        self.connections -= 1
        for each in _names_of(source):
            _discount(self._by_source, each)

    def may_shake_hands(self, source: str, now: float) -> bool:
        """Whether a TLS handshake of that source's may end here; it is spent."""
        return all(self._handshake_buckets.take(each, now) for each in _names_of(source))

    @contextlib.contextmanager
    def handshake(self, source: str = "") -> Iterator[None]:
        """Count a handshake with a share while the block runs. Raises LostError: too many."""
        most = min(MAX_HANDSHAKES, self.budget.undecided)
        part = max(LEAST, most // HANDSHAKE_PART)
        if self.handshakes >= most or any(
            self._shaking_by[each] >= part for each in _names_of(source)
        ):
            self.handshakes_failed["limit"] += 1
            raise LostError("too many shares connect at the same time")
        self.handshakes += 1
        for each in _names_of(source):
            self._shaking_by[each] += 1
        try:
            yield
        except BaseException:
            self.handshakes_failed["failed"] += 1
            raise
        finally:
            self.handshakes -= 1
            for each in _names_of(source):
                _discount(self._shaking_by, each)

    @contextlib.contextmanager
    def another(self) -> Iterator[None]:
        """Count one connection more while the block runs: a visitor's parked partner."""
        self.connections += 1
        try:
            yield
        finally:
            self.connections -= 1
