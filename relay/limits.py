"""How many connections a relay takes, from whom, and what it keeps in reserve."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from tunnel.errors import LostError
from tunnel.source import is_loopback

RESERVE = 48  # descriptors: database, epolls, libraries, log, standard streams, a margin
PIPE_SHARE = 16  # one in so many descriptors may be a pipe (each has two)
MIN_PIPES = 4
MAX_UNDECIDED = 1024  # connections whose first bytes are awaited; each lives 5 s at most
# TLS handshakes of shares under way: what one core does in about a second. After a restart
# thousands come at once; who is told at once to try later costs a tenth of who gives up waiting.
MAX_HANDSHAKES = 512
MAX_VISITORS = 1024  # of one share
MAX_JOINS = 1024  # at all names together, of shares and of none; a stranger's takes 20 s at most


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
    """Counts connections. Loopback has no limit per source: it is a proxy, or this machine."""

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.connections = 0
        self.undecided = 0
        self._by_source: Counter[str] = Counter()
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
        if self._by_source[source] >= budget.per_source and not is_loopback(source):
            return False
        self.connections += 1
        self.undecided += 1
        self._by_source[source] += 1
        return True

    def decided(self) -> None:
        """One more connection is past its first bytes."""
        self.undecided -= 1

    def leave(self, source: str) -> None:
        """A connection that entered (and was decided) has ended."""
        self.connections -= 1
        self._by_source[source] -= 1
        if not self._by_source[source]:
            del self._by_source[source]

    @contextlib.contextmanager
    def handshake(self) -> Iterator[None]:
        """Count a handshake with a share while the block runs. Raises LostError: too many."""
        if self.handshakes >= min(MAX_HANDSHAKES, self.budget.undecided):
            self.handshakes_failed["limit"] += 1
            raise LostError("too many shares connect at the same time")
        self.handshakes += 1
        try:
            yield
        except BaseException:
            self.handshakes_failed["failed"] += 1
            raise
        finally:
            self.handshakes -= 1

    @contextlib.contextmanager
    def another(self) -> Iterator[None]:
        """Count one connection more while the block runs: a visitor's parked partner."""
        self.connections += 1
        try:
            yield
        finally:
            self.connections -= 1
