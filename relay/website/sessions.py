"""Who is signed in at the relay's pages: each browser by a cookie of its own. Pure: secrets and the
clock are arguments.

The cookie is a secret that names a line in this table, where it is kept hashed, in memory alone: a
relay that starts again knows nobody. `__Host-` keeps other hosts from setting it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

COOKIE = "__Host-vrelay"
IDLE = 30 * 60.0  # seconds without a click; the page's own looks for news are none
LASTS = 12 * 3600.0  # seconds from signing in: a working day
MAX_SESSIONS = 1024  # in all: who has done nothing for longest makes room
MAX_OF_ACCOUNT = 16  # so that one account's sign-ins put out nobody else's


@dataclass(eq=False, slots=True)
class Session:
    """A browser that is signed in, with the token of that ID. `account` as in Permit. Times are of
    the clock's."""

    token: str
    account: int
    csrf: str = field(repr=False)
    ends_at: float
    seen_at: float
    fresh: dict[str, str] = field(default_factory=dict, repr=False)
    """What is shown once, on the next page: a token that was just made; what became of a click."""

    def is_over(self, now: float) -> bool:
        """Whether it has ended by itself."""
        return now >= self.ends_at or now - self.seen_at >= IDLE


class Sessions:
    """`secret()` gives a new one, 128 bits or more, of letters, digits, `-` and `_`; `clock` is
    monotonic, in seconds."""

    def __init__(self, secret: Callable[[], str], clock: Callable[[], float]) -> None:
        self._secret, self._clock = secret, clock
        self._sessions: dict[bytes, Session] = {}  # by what the cookie hashes to

    def __len__(self) -> int:
        return len(self._sessions)

    def begin(self, token: str, account: int) -> str:
        """A new session; what its cookie is. What the browser sent is never taken for one."""
        now = self._clock()
        self._sessions = {k: each for k, each in self._sessions.items() if not each.is_over(now)}
        own = [k for k, each in self._sessions.items() if each.account == account]
        self._make_room(own, MAX_OF_ACCOUNT)
        self._make_room(list(self._sessions), MAX_SESSIONS)
        cookie = self._secret()
        session = Session(token, account, self._secret(), now + LASTS, now)
        self._sessions[_hash(cookie)] = session
        return cookie

    def _make_room(self, keys: list[bytes], limit: int) -> None:
        if len(keys) >= limit:
            del self._sessions[min(keys, key=lambda key: self._sessions[key].seen_at)]

    def find(self, cookie: str, is_good: Callable[[str], bool], *, counts: bool) -> Session | None:
        """Whose the cookie is, if the token that it was had for `is_good`; with `counts` that is a
        sign of life."""
        key, now = _hash(cookie), self._clock()
        session = self._sessions.get(key)
        if session is None:
            return None
        if session.is_over(now) or not is_good(session.token):
            del self._sessions[key]
            return None
        if counts:
            session.seen_at = now
        return session

    def end(self, session: Session) -> None:
        """It is signed out. Idempotent."""
        self._sessions = {k: each for k, each in self._sessions.items() if each is not session}


def _hash(cookie: str) -> bytes:
    """Of 128 random bits a plain hash tells nothing, nor does the time that a look-up takes."""
    return hashlib.sha256(cookie.encode("utf-8", "replace")).digest()
