"""How often codes may be tried (docs/protocol.md 7, docs/security.md). Pure.

Two buckets, since the name of a share is public: one per source, and one for the share, of
which a part is kept for sources that have nothing unproven behind them. So a stranger who
uses up all that he may does not keep a newcomer from elsewhere out. Sources are the relay's
word: a relay that lies gets as many of them as it likes, but never more than the share's
bucket gives to all of them together, and that alone is what the odds count on.

The clock is an argument: seconds that never go back.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from tunnel.codes import Code
from tunnel.errors import RefusedError
from tunnel.source import is_loopback, site_of

BUCKET = 20  # attempts at a share that may come at once, from all sources together
RESERVED = 10  # of them are for sources that did not fail lately
REFILL_SECONDS = 6.0  # for one more
SOURCE_BUCKET = 10  # attempts of one source that may come at once: people behind one NAT
SOURCE_REFILL_SECONDS = 30.0  # for one more
LATELY = 3600.0  # seconds that a failure is held against its source
SLOW_AFTER = 1_000  # failures: the odds of a guesser are 1 in 8.6 million by then
SLOW_REFILL_SECONDS = 60.0  # for one more attempt, from then on until the code is rotated
# Only an attempt that was let through enters the table, so LATELY sees 620 at most (BUCKET and
# LATELY / REFILL_SECONDS), twice where a site is entered beside its source.
MAX_SOURCES = 2_048


@dataclass(slots=True)
class _Source:
    """One source, or one site of them."""

    tokens: float
    at: float
    unproven: int = 0  # attempts that were not taken back by a success
    unproven_at: float = 0.0

    def failed_lately(self, now: float) -> bool:
        return self.unproven > 0 and now - self.unproven_at < LATELY


class Attempts:
    """The limit on joining one share. Guests that have a certificate never come here.

    `source` is as from `source_of`. `take` first; `failed` when message 2 leaves; `succeeded`
    when message 3 proved the code.
    """

    def __init__(self, now: float) -> None:
        self._tokens = float(BUCKET)
        self._at = now
        self._sources: OrderedDict[str, _Source] = OrderedDict()  # the longest unused first
        self.failures = 0  # since the start, or since `rotated`

    def take(self, source: str, now: float) -> None:
        """Spend an attempt. Raises RefusedError(busy); the text is the same for every reason."""
        self._refill(now)
        known = self._refilled(source, now)
        floor = 0 if self._is_newcomer(source, now) else RESERVED
        spent = known.tokens < 1 and not is_loopback(source)
        if spent or self._tokens < floor + 1:
            raise RefusedError(Code.BUSY, "too many attempts to join; try again in a minute")
        self._tokens -= 1
        known.tokens -= 1
        self._remember(source, known, now)
        site = site_of(source)
        if site != source:
            self._remember(site, self._refilled(site, now), now)

    def failed(self, source: str, now: float) -> None:
        """Count a failure, before message 2 goes out: from then on the attempt is a guess,
        however it ends, unless `succeeded` takes it back."""
        self.failures += 1
        for each in {source, site_of(source)} & self._sources.keys():
            self._sources[each].unproven_at = now

    def succeeded(self, source: str, now: float) -> None:
        """The attempt was no guess: take the failure back, and give its tokens back."""
        self._refill(now)
        self.failures = max(0, self.failures - 1)
        self._tokens = min(BUCKET, self._tokens + 1)
        for each in {source, site_of(source)} & self._sources.keys():
            known = self._sources[each]
            known.unproven = max(0, known.unproven - 1)
            known.tokens = min(SOURCE_BUCKET, known.tokens + 1)

    def rotated(self) -> None:
        """There is a new code: what was guessed at the old one says nothing about it."""
        self.failures = 0

    @property
    def is_slowed(self) -> bool:
        """Whether so much has failed that the refill is slow: time for a new code."""
        return self.failures >= SLOW_AFTER

    def _refill(self, now: float) -> None:
        seconds = SLOW_REFILL_SECONDS if self.is_slowed else REFILL_SECONDS
        self._tokens = min(BUCKET, self._tokens + (now - self._at) / seconds)
        self._at = now

    def _refilled(self, source: str, now: float) -> _Source:
        known = self._sources.get(source)
        if known is None:
            return _Source(SOURCE_BUCKET, now)
        known.tokens = min(SOURCE_BUCKET, known.tokens + (now - known.at) / SOURCE_REFILL_SECONDS)
        known.at = now
        return known

    def _is_newcomer(self, source: str, now: float) -> bool:
        known = (self._sources.get(each) for each in (source, site_of(source)))
        return not any(each is not None and each.failed_lately(now) for each in known)

    def _remember(self, source: str, known: _Source, now: float) -> None:
        """Until it succeeds it counts as a failure: an attempt that breaks off early, too."""
        if not known.failed_lately(now):
            known.unproven = 0
        known.unproven += 1
        known.unproven_at = now
        self._sources[source] = known
        self._sources.move_to_end(source)
        while len(self._sources) > MAX_SOURCES:
            self._sources.popitem(last=False)
