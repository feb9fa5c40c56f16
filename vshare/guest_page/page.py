"""The guest page of a share, at NAME--join.DOMAIN: a site that the share answers itself.

Its own host name makes it another origin than the machine's sites, so that what runs there can
neither read it nor speak in its visitors' names (docs/security.md).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Literal
from urllib.parse import parse_qs

import msgspec

from tunnel.codes import Code
from tunnel.ends import End
from tunnel.errors import RefusedError
from tunnel.http_heads import RequestHead
from tunnel.http_pages import Page
from tunnel.names import ShareName
from vshare.guest_page.door import PATH as JOIN
from vshare.guest_page.door import Door
from vshare.guest_page.files import Files
from vshare.guest_page.origins import authority_of, is_own_origin, may_ask
from vshare.guest_page.served_sites import ServedSites
from vshare.guest_page.sessions import MAX_OPEN, Session, Sessions
from vshare.guest_page.talks import News, TerminalTalk
from vshare.guest_page.web_socket import GOING_AWAY, Talk, WebSocketEnd
from vshare.news import Newsroom
from vshare.terminals.hub import Hub
from vshare.together.board import Board
from vshare.web.access import RequestRule
from vshare.web.pages import FROM_ELSEWHERE, page_reply, redirect
from vshare.web.passcode import PATH as PASSCODE
from vshare.web.rules import Form, Reply, Rule
from vshare.web.sites import HTTPS_PORT, Site, Sites, with_label
from vshare.web.tickets import PARAMETER, Tickets
from vshare.web.tries import RETRY_AFTER, Tries
from vshare.web.visit import OURS, host_of, is_https

LABEL = "join"  # of its host name; a server of the machine's cannot have it
NEWS, TERMINAL = b"/news", b"/terminal"  # its WebSockets
SITE = b"/site/"  # links to the machine's sites: the label follows
LEAVE = OURS + b"leave"
MAX_SOCKETS = 256  # of all browsers
GONE_AFTER = 10.0  # seconds without a WebSocket: a page that is loaded again is back by then

Terminals = Literal["none", "read", "write"]

_NOT_FOUND = Page(HTTPStatus.NOT_FOUND, "There is no such page here")
_NO_SITE = Page(
    HTTPStatus.NOT_FOUND, "That server is not shared any more", ["The page before lists them."]
)
_NO_ROOM = Page(
    HTTPStatus.SERVICE_UNAVAILABLE,
    "Too much is open",
    ["Close some of it, and try again."],
    retry_after=RETRY_AFTER,
)


@dataclass(frozen=True, slots=True)
class About:
    """What the page says of the share. `url`: its own; `relay`: its host; `is_passed_through`: TLS
    ends here."""

    name: ShareName
    machine: str
    relay: str
    url: str
    is_passed_through: bool = False

    @property
    def has_tls(self) -> bool:
        """Whether it is to be opened with TLS."""
        return self.url.startswith("https://")

    def trust(self) -> str:
        """Who could read along: a sentence."""
        if not self.has_tls:
            return (
                "This page comes without encryption: whoever runs the relay, or is on the way,"
                " could read what is shown here, and type in your place."
            )
        if self.is_passed_through:
            return (
                "This page comes from the sharer's computer itself, where your browser's"
                " encryption ends: the relay in between passes on what it cannot read."
            )
        return (
            f"Your browser's encryption ends at the relay, {self.relay}: whoever runs it could"
            " read what is shown here, and type. vconnect is encrypted up to the sharer."
        )


@dataclass(frozen=True, slots=True)
class Shown:
    """What there is to see, and what visitors may do with the terminals."""

    board: Board
    hub: Hub
    sites: Callable[[], Sites]
    terminals: Terminals = "read"
    tickets: Tickets | None = None
    """Past the passcode of those sites that have one."""
    asks: Callable[[Site], bool] = lambda site: True
    """Whether a site takes tickets."""


class GuestPage:
    """`rules` stand before it, `open` answers what they let through: WebSockets.

    `before` are rules that hold for all sites, such as which addresses may come.
    """

    def __init__(
        self,
        passcode: str,
        about: About,
        shown: Shown,
        newsroom: Newsroom,
        tries: Tries,
        sessions: Sessions,
        before: Sequence[Rule] = (),
        files: Files | None = None,
    ) -> None:
        self.passcode, self.url = passcode, about.url
        self.served: ServedSites | None = None  # to be run with the share
        self.site = Site(LABEL, 0, title="the guest page", is_own=True)
        self._about, self._shown, self._newsroom = about, shown, newsroom
        self._sessions = sessions
        self._sockets: set[WebSocketEnd] = set()
        self._loop = asyncio.get_running_loop()
        gate, door = _Gate(about), Door(passcode, sessions, tries, self._sentences)
        self.rules: Sequence[Rule] = (*before, gate, door, _Pages(self, files or Files()))

    def close(self) -> None:
        """The share ends."""
        self._sessions.end_all()

    def changed(self) -> None:
        """There are other sites: browsers are told."""
        for socket in list(self._sockets):
            socket.look_again()

    def visitors(self) -> list[Session]:
        """The browsers that have the page open."""
        return [each for each in self._sessions if each.open]

    # -- for the rules

    def find(self, head: RequestHead) -> Session | None:
        """Whose the request is."""
        return self._sessions.find(head)

    def leave(self, head: RequestHead) -> None:
        """Who asks goes."""
        session = self._sessions.find(head)
        if session is not None:
            self._sessions.end(session)
            self._tell_if_gone(session)

    def has_room(self, session: Session) -> bool:
        """Whether it may open another WebSocket."""
        return len(session.open) < MAX_OPEN and len(self._sockets) < MAX_SOCKETS

    def link_to(self, label: str, head: RequestHead) -> str | None:
        """Where the site with `label` is for this visitor, with a ticket if it asks for a passcode;
        None: there is no such site."""
        shown = self._shown
        try:
            site = shown.sites().find(label, HTTPS_PORT if is_https(head) else 0)
        except RefusedError:
            return None
        authority = with_label(authority_of(head).decode("ascii"), self._about.name, label)
        if authority is None or site.is_own:
            return None
        url = f"{'https' if is_https(head) else 'http'}://{authority}"
        if shown.tickets is None or not shown.asks(site):
            return f"{url}/"
        at = RequestHead(1, [(b"Host", authority.encode())], b"GET", b"/")
        ticket = shown.tickets.issue(host_of(at))
        return f"{url}{PASSCODE.decode()}?{PARAMETER.decode()}={ticket}"

    # -- WebSockets

    def open(self, head: RequestHead) -> End:
        """What answers a request that the rules let through. Raises RefusedError."""
        session = self._sessions.find(head)
        if session is None or not is_own_origin(head):
            raise RefusedError(Code.NOT_ALLOWED, "this browser is not in any more")
        talk = self._talk(head, session)
        end = WebSocketEnd(talk, lambda: self._over(end, session, close))

        def close() -> None:
            end.close(GOING_AWAY)

        self._sockets.add(end)
        session.open.add(close)
        self._tell_of(session)
        return end

    def _talk(self, head: RequestHead, session: Session) -> Talk:
        shown = self._shown
        if head.path == TERMINAL:
            names = parse_qs(head.target.partition(b"?")[2].decode("ascii", "replace")).get("name")
            read_only = shown.terminals != "write"
            return TerminalTalk(shown.hub, (names or [""])[0], session, read_only=read_only)
        hidden = frozenset(("terminals",)) if shown.terminals == "none" else frozenset[str]()
        return News(shown.board, session, lambda: self._words(session), hidden)

    def has_socket(self, path: bytes) -> bool:
        """Whether there is a WebSocket at `path`."""
        return path == NEWS or (path == TERMINAL and self._shown.terminals != "none")

    def _words(self, session: Session) -> bytes:
        """The first message on the news' socket."""
        sites = self._shown.sites()
        links = [
            {"label": site.label, "title": site.title, "port": site.port}
            for site in (sites.find(label, HTTPS_PORT) for label in sites.labels)
            if not site.is_own
        ]
        said = {
            "type": "page",
            "share": self._about.name,
            "machine": self._about.machine,
            "you": session.visitor.name,
            "trust": self._about.trust(),
            "terminals": self._shown.terminals,
            "sites": links,
        }
        return msgspec.json.encode(said)

    def _sentences(self, head: RequestHead) -> list[str]:
        """Above the form."""
        about = self._about
        return [
            f"{about.machine} is shared here for a while, as {about.name}. Who shares it can tell"
            " you the passcode of this page.",
            about.trust(),
        ]

    def _over(self, end: WebSocketEnd, session: Session, close: Callable[[], None]) -> None:
        self._sockets.discard(end)
        session.open.discard(close)
        if not session.open:
            self._loop.call_later(GONE_AFTER, self._tell_if_gone, session)

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

    def _tell_if_gone(self, session: Session) -> None:
        if session.is_told and not session.open:
            session.is_told = False
            name = session.visitor.name
            self._newsroom.tell("visitor-left", f"{name} left the guest page", visitor=name)


class _Gate(RequestRule):
    """Before anything else is looked at: what comes without TLS where there is TLS goes there, and
    what pages of other sites ask for is refused."""

    def __init__(self, about: About) -> None:
        self._has_tls, self._url = about.has_tls, about.url.encode()

    def request(self, head: RequestHead) -> Reply | None:
        """See Rule.request."""
        if self._has_tls and not is_https(head):
            to = [(b"Location", self._url), (b"Content-Type", b"text/plain")]
            return Reply(HTTPStatus.PERMANENT_REDIRECT, "Permanent Redirect", to)
        if not may_ask(head) and head.path != JOIN:  # a form says itself what is wrong
            return page_reply(head, FROM_ELSEWHERE)
        return None


class _Pages(RequestRule):
    """Answers all but WebSockets; who asks has a session."""

    def __init__(self, page: GuestPage, files: Files) -> None:
        self._page, self._files = page, files

    def request(self, head: RequestHead) -> Reply | Form | None:
        """See Rule.request."""
        if head.is_upgrade:
            return self._socket(head)
        if head.path == LEAVE and head.method == b"POST":
            self._page.leave(head)
            return redirect(b"/", [])
        if head.method not in (b"GET", b"HEAD"):
            return page_reply(head, _NOT_FOUND)
        if head.path.startswith(SITE):
            label = head.path[len(SITE) :].decode("ascii")
            to = self._page.link_to(label, head)
            return redirect(to.encode(), []) if to is not None else page_reply(head, _NO_SITE)
        return self._files.maybe_reply(head) or page_reply(head, _NOT_FOUND)

    def _socket(self, head: RequestHead) -> Reply | None:
        session = self._page.find(head)
        if session is None or not self._page.has_socket(head.path):
            return page_reply(head, _NOT_FOUND)
        return None if self._page.has_room(session) else page_reply(head, _NO_ROOM)
