"""Who has given the guest page's passcode: each browser by a cookie of its own. Pure: secrets and
the clock are arguments.

A session is a line in this table, and its cookie a secret that names the line: it ends when the
line is struck out, with all that it has open. A cookie counts for the host and the scheme that it
was given to; __Host- and SameSite=Strict keep other sites below the relay's domain from setting it,
and pages elsewhere from having it sent.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from tunnel.http_heads import RequestHead
from tunnel.identity import Role
from tunnel.looks import skeleton
from vshare.guests import Guest
from vshare.web.visit import address_of, host_of, is_https

NAME = b"vshare-page"
LASTS = 24 * 3600  # seconds: a working day, and the next morning; the share ends sooner, mostly
MAX_SESSIONS = 256  # browsers; one that has nothing open makes room, who came first
MAX_COOKIES = 16 * 1024  # bytes of them that are looked at
MAX_OPEN = 16  # WebSockets of one session: a few tabs with a few terminals each
MARK = " (browser)"  # behind each visitor's name


@dataclass(eq=False, slots=True)
class Session:
    """A browser that is in. `visitor`: as whom it is told of; its fingerprint says whose rights
    these are, and is no secret and no certificate's; its name is unlike any guest's."""

    visitor: Guest
    number: str  # by which the cookies of sites know whose they are; no secret
    place: tuple[bytes, bool]
    ends_at: float  # seconds since the epoch
    open: dict[Callable[[str], None], str] = field(default_factory=dict)
    """What ends each thing that it has open, given why, and what that is ("": nothing to tell)."""
    sites: dict[str, float] = field(default_factory=dict)
    """When it last asked for something of each site, by label; loop time."""
    is_told: bool = False  # the sharer knows that it is there
    closed_at: float = 0.0  # when the last of what it had open ended; loop time
    is_watched: bool = False  # it will be looked at whether it is gone

    def end(self, why: str = "") -> None:
        """End all that is open, saying why."""
        for close in list(self.open):
            close(why)


class Sessions:
    """`secret()` gives a new one, 128 bits or more, of letters, digits, `-` and `_`; `clock`
    seconds since the epoch."""

    def __init__(self, secret: Callable[[], str], clock: Callable[[], float]) -> None:
        self._secret, self._clock = secret, clock
        self._sessions: dict[bytes, Session] = {}  # by what the cookie hashes to; the oldest first
        self._count = 0

    def __iter__(self) -> Iterator[Session]:
        now = self._clock()
        return iter([each for each in self._sessions.values() if each.ends_at > now])

    def begin(self, head: RequestHead, wanted: str) -> tuple[Session, tuple[bytes, bytes]] | None:
        """A session for who sent this request, and the Set-Cookie field; None: too many are in."""
        now = self._clock()
        for key, each in list(self._sessions.items()):
            if each.ends_at <= now:
                self._sessions.pop(key).end()
        if len(self._sessions) >= MAX_SESSIONS:
            idle = next((key for key, each in self._sessions.items() if not each.open), None)
            if idle is None:
                return None
            del self._sessions[idle]
        self._count += 1
        token, address = self._secret(), str(address_of(head) or "an unknown address")
        name, number = self._free_name(wanted), str(self._count)
        # The role is the public URL's: whatever it asks for by this role, ports are refused.
        visitor = Guest(name, Role.GATEWAY, f"browser {number}", address, now)
        session = Session(visitor, number, _place(head), now + LASTS)
        self._sessions[_hash(token.encode())] = session
        secure = b"; Secure" if is_https(head) else b""
        attributes = b"; Path=/; Max-Age=%d; HttpOnly; SameSite=Strict" % LASTS
        return session, (b"Set-Cookie", _name(head) + b"=" + token.encode() + attributes + secure)

    def find(self, head: RequestHead) -> Session | None:
        """Whose the request is: who has the cookie."""
        name, left = _name(head), MAX_COOKIES
        for value in head.values(b"cookie"):
            for pair in value[: max(left, 0)].split(b";"):
                key, _, token = pair.strip(b" \t").partition(b"=")
                session = self._sessions.get(_hash(token)) if key == name else None
                if session is None or session.place != _place(head):
                    continue
                if session.ends_at > self._clock():
                    return session
            left -= len(value)
        return None

    def numbered(self, number: str) -> Session | None:
        """The one that the cookie of a site is of; None: it is out."""
        return next((each for each in self if each.number == number), None)

    def named(self, name: str) -> Session | None:
        """The one of that name."""
        return next((each for each in self if each.visitor.name == name), None)

    def end(self, session: Session, why: str = "") -> None:
        """It is out, and all that it has open ends. Idempotent."""
        self._sessions = {key: each for key, each in self._sessions.items() if each is not session}
        session.end(why)

    def _free_name(self, wanted: str) -> str:
        """What guests are called has no parentheses (vshare/guests.py), so no visitor can be taken
        for one."""
        taken = {skeleton(each.visitor.name) for each in self._sessions.values()}
        name, number = f"{wanted}{MARK}", 2
        while skeleton(name) in taken:
            name, number = f"{wanted}-{number}{MARK}", number + 1
        return name


def _name(head: RequestHead) -> bytes:
    return b"__Host-" + NAME if is_https(head) else NAME


def _place(head: RequestHead) -> tuple[bytes, bool]:
    return host_of(head), is_https(head)


def _hash(token: bytes) -> bytes:
    """What is looked up, so that how long it takes says nothing of the token."""
    return hashlib.sha256(token).digest()
