"""Which sessions were ended by a click, until they would be over anyway. Pure: the clock is an
argument.

A session is in its cookie (relay/website/sessions.py), which may be kept: so its end is kept here,
and told to the other relays of a cluster. Where there would be too many, more is ended than was
asked for, never less: all sessions of that token, or all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

LASTS = 12 * 3600.0  # seconds from signing in that a session may last: a working day
MOST_OF_TOKEN = 16  # before all of that token's end: nobody signs out so often in a day
MOST = 16_384  # before everybody's end: some accounts with all the tokens that they may have
_ALL = ""  # in place of a token, or a session

SignOut = tuple[str, str, float]  # a token's ID, a session's ID, and when: seconds since the epoch


class SignOuts:
    """`on_change` is called when there is one more; `not_before`: what began before is not known
    to be alive (yet)."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._ended: dict[tuple[str, str], float] = {}
        self.on_change: Callable[[], None] = lambda: None
        self.not_before = 0.0

    def end(self, token: str, session: str) -> None:
        """That session of the token's is over. Idempotent."""
        if self._add([(token, session, self._clock())]):
            self.on_change()

    def hear(self, others: Iterable[SignOut]) -> None:
        """What other relays know."""
        if self._add(others):
            self.on_change()

    def rows(self) -> list[SignOut]:
        """All that matter still."""
        now = self._clock()
        return [(*key, at) for key, at in self._ended.items() if at > now - LASTS]

    def has_ended(self, token: str, session: str, began_at: float) -> bool:
        """Whether it is over."""
        if (token, session) in self._ended or began_at < self.not_before:
            return True
        return began_at <= max(
            self._ended.get((token, _ALL), 0.0), self._ended.get((_ALL, _ALL), 0.0)
        )

    def _add(self, rows: Iterable[SignOut]) -> bool:
        """Whether any of them is news."""
        now, changed = self._clock(), False
        for token, session, at in rows:
            key, at = (token, session), min(at, now)
            known = self._ended.get(key)
            is_news = known is None or (session == _ALL and known < at)
            if at > now - LASTS and is_news and not self._is_covered(token, at):
                self._ended[key] = at
                changed = True
        if changed:
            self._ended = {key: at for key, at in self._ended.items() if at > now - LASTS}
            self._make_room()
        return changed

    def _is_covered(self, token: str, at: float) -> bool:
        """Whether all sessions that could end then have."""
        return at <= max(self._ended.get((token, _ALL), 0.0), self._ended.get((_ALL, _ALL), 0.0))

    def _make_room(self) -> None:
        counts: dict[str, int] = {}
        for token, _ in self._ended:
            counts[token] = counts.get(token, 0) + 1
        for token in [token for token, count in counts.items() if count > MOST_OF_TOKEN]:
            self._end_all(token)
        if len(self._ended) > MOST:
            self._ended = {(_ALL, _ALL): max(self._ended.values())}

    def _end_all(self, token: str) -> None:
        latest = max(at for (whose, _), at in self._ended.items() if whose == token)
        rest = {key: at for key, at in self._ended.items() if key[0] != token}
        self._ended = {**rest, (token, _ALL): latest}
