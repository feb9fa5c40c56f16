"""How often visitors may try the site's password or passcode. Pure.

Strangers share the limits that codes have (tunnel/attempts.py). With every request of a visitor
comes the password again, so who was right is known by its source and does not draw from what
strangers can use up; it may err KNOWN_MAY_ERR times in an hour, for who sits behind the same
address, and is a stranger then like any other.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from tunnel.attempts import Attempts
from tunnel.errors import RefusedError
from vshare.web.guessing import Guessing

KNOWN_MAY_ERR = 10  # wrong tries: as many as a stranger's source has at once
FORGIVEN_AFTER = 3600.0  # seconds from the first of them
MAX_KNOWN = 2048  # sources that were right; the longest unused is forgotten
RETRY_AFTER = 60  # seconds, as told to who tried too often: two more tries of one source


class TooManyTriesError(Exception):
    """No try is left now, for the right password either: else a guesser would know it by that."""


@dataclass(slots=True)
class _Known:
    """A source that was right. `since`: of its first wrong try."""

    wrong: int = 0
    since: float = 0.0


class Tries:
    """The limit for one share. `clock` gives seconds that never go back; `guessing` hears of each
    try."""

    def __init__(self, clock: Callable[[], float], guessing: Guessing | None = None) -> None:
        self._clock, self._guessing = clock, guessing
        self._attempts = Attempts(clock())
        self._known: OrderedDict[str, _Known] = OrderedDict()

    def count(self, source: str, *, right: bool) -> bool:
        """`right`, if `source` had a try left. Raises TooManyTriesError."""
        self._count(source, right=right)
        if self._guessing is not None:
            (self._guessing.right if right else self._guessing.wrong)(source)
        return right

    def _count(self, source: str, *, right: bool) -> None:
        now = self._clock()
        known = self._known.get(source)
        if known is not None and now - known.since >= FORGIVEN_AFTER:
            known.wrong = 0
        if known is not None and known.wrong < KNOWN_MAY_ERR:
            if not right:
                known.since = known.since if known.wrong else now
                known.wrong += 1
            return
        try:
            self._attempts.take(source, now)
        except RefusedError as error:
            raise TooManyTriesError(error.text) from error
        self._attempts.failed(source, now)
        if right:
            self._attempts.succeeded(source, now)
            self._remember(source)

    def _remember(self, source: str) -> None:
        self._known.setdefault(source, _Known())
        self._known.move_to_end(source)
        while len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)
