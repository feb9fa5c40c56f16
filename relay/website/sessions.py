"""Who is signed in at the relay's pages: each browser by a cookie of its own. Pure: secrets and the
clock are arguments.

The session is in the cookie, sealed (relay/website/sealed.py): so it is good at all relays that
have one key, and there is no table that could be full. `__Host-` keeps other hosts from setting it.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from relay.website.sealed import Seal
from relay.website.sign_outs import LASTS, SignOuts

COOKIE = "__Host-vrelay"
ONCE = "__Host-vrelay-once"  # what the next page shows, and no other
IDLE = 30 * 60.0  # seconds without a click; the page's own looks for news are none
RENEW = 30.0  # seconds after which a click makes the cookie a new one
ONCE_WITHIN = 120.0  # seconds for the next page
SKEW = 120.0  # seconds that relays' clocks may differ
SECRET = 18  # bytes
_SESSION, _SHOWN = "session", "once"  # what is sealed

_Texts = dict[str, str]


class _Cookie(msgspec.Struct, frozen=True, array_like=True):
    """What is in it."""

    id: str
    token: str
    csrf: str
    began_at: float
    seen_at: float


class _Once(msgspec.Struct, frozen=True, array_like=True):
    """What is shown once, to the session with that ID."""

    id: str
    at: float
    texts: _Texts


_cookie, _once = msgspec.json.Decoder(_Cookie), msgspec.json.Decoder(_Once)


@dataclass(eq=False, slots=True)
class Session:
    """A browser that is signed in, with the token of that ID. Times are seconds since the
    epoch."""

    id: str
    token: str
    csrf: str = field(repr=False)
    began_at: float
    seen_at: float
    fresh: _Texts = field(default_factory=dict, repr=False)
    """What is shown once, on the next page: a token that was just made; what became of a click."""

    @property
    def ends_at(self) -> float:
        """When it does, whatever is clicked."""
        return self.began_at + LASTS

    def is_over(self, now: float) -> bool:
        """Whether it has ended by itself, or is of a time that has not come."""
        if max(self.began_at, self.seen_at) > now + SKEW:
            return True
        return now >= self.ends_at or now - self.seen_at >= IDLE


class Sessions:
    """`entropy(size)` gives random bytes; `clock` seconds since the epoch, as it is at all relays
    that have `seal`'s key."""

    def __init__(
        self,
        seal: Seal,
        sign_outs: SignOuts,
        entropy: Callable[[int], bytes],
        clock: Callable[[], float],
    ) -> None:
        self._seal, self._sign_outs = seal, sign_outs
        self._entropy, self._clock = entropy, clock

    def begin(self, token: str) -> Session:
        """A new session. What the browser sent is never taken for one."""
        now = self._clock()
        return Session(self._secret(), token, self._secret(), now, now)

    def find(self, cookie: str, is_good: Callable[[str], bool]) -> Session | None:
        """Whose the cookie is, if the token that it was had for `is_good`."""
        try:
            said = _cookie.decode(self._seal.open(_SESSION, cookie) or b"")
        except msgspec.MsgspecError:
            return None
        session = Session(said.id, said.token, said.csrf, said.began_at, said.seen_at)
        if session.is_over(self._clock()) or not is_good(session.token):
            return None
        return None if self.has_ended(session) else session

    def cookie(self, session: Session) -> str:
        """The session's, as it is now."""
        said = _Cookie(session.id, session.token, session.csrf, session.began_at, session.seen_at)
        return self._seal.close(_SESSION, msgspec.json.encode(said))

    def lasts(self, session: Session) -> int:
        """For so many seconds more, at most."""
        return max(0, int(session.ends_at - self._clock()))

    def click(self, session: Session) -> bool:
        """Somebody is there; whether the cookie has to be a new one."""
        now = self._clock()
        if now - session.seen_at < RENEW:
            return False
        session.seen_at = now
        return True

    def once(self, session: Session) -> str:
        """The cookie with what is `fresh`."""
        said = _Once(session.id, self._clock(), session.fresh)
        return self._seal.close(_SHOWN, msgspec.json.encode(said))

    def fresh(self, session: Session, once: str) -> _Texts:
        """What is, by that cookie; nothing, if it is another session's, or old."""
        try:
            said = _once.decode(self._seal.open(_SHOWN, once) or b"")
        except msgspec.MsgspecError:
            return {}
        age = self._clock() - said.at
        return said.texts if said.id == session.id and -SKEW < age < ONCE_WITHIN else {}

    def has_ended(self, session: Session) -> bool:
        """Whether it is signed out."""
        return self._sign_outs.has_ended(session.token, session.id, session.began_at)

    def end(self, session: Session) -> None:
        """It is signed out. Idempotent."""
        self._sign_outs.end(session.token, session.id)

    def _secret(self) -> str:
        return base64.urlsafe_b64encode(self._entropy(SECRET)).decode()
