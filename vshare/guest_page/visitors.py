"""The browsers that are in by the guest page's passcode, as guests are: told of when they come and
go, listed with what they use, removed one by one.

A visitor is there while its page is open, and while it uses a site that it went to from there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from tunnel.http_heads import RequestHead
from vshare.guest_page.sessions import MARK, Session, Sessions
from vshare.news import Newsroom

GONE_AFTER = 10.0  # seconds without a WebSocket: a page that is loaded again is back by then
SITE_LASTS = 60.0  # seconds that a site counts as used after a request; one reads for so long
NAMELESS = "visitor"
KICKED = "The sharer removed you from this page."


@dataclass(frozen=True, slots=True)
class Visitor:
    """How one is there. `opened` things of the page; `terminals` and `sites` by name and label."""

    session: Session
    is_here: bool
    opened: int
    terminals: list[str]
    sites: list[str]


class Visitors:
    """`on_removed` hears of each that is out, so that what it has under way elsewhere ends, too."""

    def __init__(self, sessions: Sessions, newsroom: Newsroom) -> None:
        self._sessions, self._newsroom = sessions, newsroom
        self._loop = asyncio.get_running_loop()
        self.on_removed: Callable[[Session], None] = lambda session: None

    # -- for the sharer

    def all(self) -> list[Visitor]:
        """Who is in, the oldest first; those with the page closed are away."""
        return [self._visitor(each) for each in self._sessions]

    def count_here(self) -> int:
        """How many are there now."""
        return sum(each.is_here for each in self.all())

    def maybe_named(self, name: str, *, exactly: bool) -> Session | None:
        """The visitor called `name`; unless `exactly`, also without what marks visitors."""
        found = self._sessions.named(name)
        return found or (None if exactly else self._sessions.named(f"{name}{MARK}"))

    def kick(self, session: Session) -> None:
        """It is out until it gives the passcode again, and is told so."""
        name = session.visitor.name
        session.is_told = False  # what follows is not its leaving
        self.remove(session, KICKED)
        self._newsroom.tell("kicked", f"{name} was removed", guest=name)

    def remove(self, session: Session, why: str = "") -> None:
        """It is out, with all that it has open."""
        self._sessions.end(session, why)
        self.on_removed(session)
        self._tell_if_gone(session)

    def remove_all(self, why: str = "") -> int:
        """As `remove`; how many there were."""
        found = list(self._sessions)
        for session in found:
            self.remove(session, why)
        return len(found)

    # -- for the page

    def opened(self, session: Session, close: Callable[[str], None], what: str) -> None:
        """It has opened something; see Session.open."""
        session.open[close] = what
        self._tell_of(session)

    def closed(self, session: Session, close: Callable[[str], None]) -> None:
        """Which is over."""
        session.open.pop(close, None)
        if not session.open:
            session.closed_at = self._loop.time()
            self._watch(session, GONE_AFTER)

    # -- for sites

    def came(self, head: RequestHead) -> str | None:
        """Somebody gave the passcode at a site: a new visitor's number; None: too many are in."""
        begun = self._sessions.begin(head, NAMELESS)
        if begun is None:
            return None
        self._tell_of(begun[0])
        self._watch(begun[0], SITE_LASTS)
        return begun[0].number

    def used(self, number: str, label: str) -> bool:
        """Who has a site's cookie with `number` asks for something of the site; whether it may."""
        session = self._sessions.numbered(number)
        if session is None:
            return False
        session.sites[label] = self._loop.time()
        self._tell_of(session)
        self._watch(session, SITE_LASTS)
        return True

    # -- inside

    def _visitor(self, session: Session) -> Visitor:
        now = self._loop.time()
        terminals = dict.fromkeys(what for what in session.open.values() if what)
        sites = [label for label, at in session.sites.items() if now - at < SITE_LASTS]
        is_here = bool(session.open or sites)
        return Visitor(session, is_here, len(session.open), list(terminals), sites)

    def _tell_of(self, session: Session) -> None:
        visitor = session.visitor
        if not session.is_told:
            session.is_told = True
            self._newsroom.tell(
                "visitor-joined",
                f"{visitor.name} opened the guest page (from {visitor.address}, as the relay says)",
                visitor=visitor.name,
                address=visitor.address,
            )

    def _watch(self, session: Session, seconds: float) -> None:
        """See in a while whether it is gone."""
        if not session.is_watched:
            session.is_watched = True
            self._loop.call_later(seconds, self._look, session)

    def _look(self, session: Session) -> None:
        session.is_watched = False
        used_until = max((at + SITE_LASTS for at in session.sites.values()), default=0.0)
        left = max(session.closed_at + GONE_AFTER, used_until) - self._loop.time()
        if session.is_told and not session.open and left > 0:
            self._watch(session, left)
        else:
            self._tell_if_gone(session)

    def _tell_if_gone(self, session: Session) -> None:
        if session.is_told and not session.open:
            session.is_told = False
            name = session.visitor.name
            self._newsroom.tell("visitor-left", f"{name} left the guest page", visitor=name)
