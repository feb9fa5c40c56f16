"""What flows through the relay, in a few sums: by kind, and by nothing that has no bound."""

from __future__ import annotations

from collections import Counter

from relay.accounting import Accounting, How, Kind, Request, Session, Visit

# Seconds of a request, from its head to the end of its answer.
REQUEST_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Buckets:
    """A histogram: how many were in each bucket, and their sum."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count one."""
        number = 0
        for bound in self.bounds:
            if value <= bound:
                break
            number += 1
        self._counts[number] += 1
        self.sum += value

    def cumulative(self) -> list[tuple[str, float]]:
        """For each bound, as Prometheus has it, how many were not above it."""
        total, found = 0, []
        for bound, count in zip((*map(str, self.bounds), "+Inf"), self._counts, strict=True):
            total += count
            found.append((bound, float(total)))
        return found


class Counts:
    """A sink of `accounting` (see relay.accounting.Sink)."""

    def __init__(self, accounting: Accounting) -> None:
        self._accounting = accounting
        self.registered = 0
        self.ended = Counter({str(how): 0 for how in How})
        self.visits = Counter({str(kind): 0 for kind in Kind})  # begun
        self.requests = Counter({"none": 0} | {f"{hundred}xx": 0 for hundred in range(1, 6)})
        self.request_seconds = Buckets(REQUEST_BUCKETS)
        self._received, self._sent = Counter[str](), Counter[str]()  # of visits that are over

    def share_began(self, share: Session) -> None:
        """See relay.accounting.Sink."""
        self.registered += 1

    def share_ended(self, share: Session, how: How) -> None:
        """See relay.accounting.Sink."""
        self.ended[str(how)] += 1

    def visit_began(self, visit: Visit) -> None:
        """See relay.accounting.Sink."""
        self.visits[str(visit.kind)] += 1

    def visit_ended(self, visit: Visit) -> None:
        """See relay.accounting.Sink."""
        self._received[str(visit.kind)] += visit.received
        self._sent[str(visit.kind)] += visit.sent

    def request(self, visit: Visit, request: Request) -> None:
        """See relay.accounting.Sink."""
        hundred = request.status // 100
        self.requests[f"{hundred}xx" if 1 <= hundred <= 5 else "none"] += 1
        self.request_seconds.observe(request.seconds)

    def open(self) -> Counter[str]:
        """Visits that last, by kind."""
        found = Counter({str(kind): 0 for kind in Kind})
        found.update(str(visit.kind) for visit in self._accounting.visits)
        return found

    def bytes(self) -> tuple[Counter[str], Counter[str]]:
        """What visitors have received, and sent, so far; of visits that last, too."""
        received = Counter({str(kind): self._received[str(kind)] for kind in Kind})
        sent = Counter({str(kind): self._sent[str(kind)] for kind in Kind})
        for visit in self._accounting.visits:
            received[str(visit.kind)] += visit.received
            sent[str(visit.kind)] += visit.sent
        return received, sent
