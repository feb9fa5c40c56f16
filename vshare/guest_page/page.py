"""The guest page of a share, at NAME--join.DOMAIN: a site that the share answers itself.

Its own host name makes it another origin than the machine's sites, so that what runs there can
neither read it nor speak in its visitors' names (docs/security.md).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Literal
from urllib.parse import parse_qs

import msgspec

from tunnel.codes import Code
from tunnel.ends import End
from tunnel.errors import RefusedError
from tunnel.follow import Server
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
from vshare.guest_page.visitors import Visitors
from vshare.guest_page.web_socket import GOING_AWAY, OUT, Talk, WebSocketEnd
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
CHANGED = "The sharer changed the passcode of this page: ask for the new one."
SHUT = "The sharer closed this page."

Terminals = Literal["none", "read", "write"]

_CLOSED = Page(
    HTTPStatus.SERVICE_UNAVAILABLE,
    "This page is closed",
    ["Who shares the machine has closed it for now."],
    retry_after=RETRY_AFTER,
)
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
        self.passcode, self.url, self.is_open = passcode, about.url, True
        self.served: ServedSites | None = None  # to be run with the share
        self.site = Site(LABEL, 0, title="the guest page", is_own=True)
        self.visitors = Visitors(sessions, newsroom)
        self._about, self._shown, self._newsroom = about, shown, newsroom
        self._sessions = sessions
        self._sockets: set[WebSocketEnd] = set()
        self._door = Door(passcode, sessions, tries, self._sentences)
        pages = _Pages(self, files or Files())
        self.rules: Sequence[Rule] = (*before, _Gate(self, about), self._door, pages)
        if shown.tickets is not None:
            shown.tickets.still_in = self._still_in

    def close(self) -> None:
        """The share ends."""
        self.visitors.remove_all()

    def move(self, name: ShareName, url: str) -> None:
        """The share is called `name` now, and the page is at `url`: browsers that have it open are
        told what they look at."""
        self._about, self.url = replace(self._about, name=name, url=url), url
        self.changed()

    def changed(self) -> None:
        """There are other sites: browsers are told."""
        for socket in list(self._sockets):
            socket.look_again()

    # -- for the sharer

    def change_passcode(self, passcode: str, *, keep: bool) -> int:
        """It is this one from now on; how many visitors that put out, none with `keep`."""
        self.passcode = passcode
        self._door.change(passcode)
        if self.served is not None:
            self.served.change_passcode(passcode)
        out = 0 if keep else self.visitors.remove_all(CHANGED)
        self._newsroom.tell("page-passcode", "the guest page has a new passcode", out=out)
        return out

    def set_open(self, *, is_open: bool) -> int:
        """Open it again, or close it, which puts out who is in: so many visitors."""
        if self.is_open == is_open:
            return 0
        self.is_open = is_open
        if is_open:
            self._newsroom.tell("page-opened", "the guest page is open again")
            return 0
        out = self.visitors.remove_all(SHUT)
        self._newsroom.tell("page-closed", "the guest page is closed", out=out)
        return out

    def server_names(self, labels: Sequence[str]) -> list[str]:
        """What the sites with these labels are called: as servers, if they are shared by name."""
        sites, names = self._shown.sites(), []
        servers = {
            each.port: each.name
            for each in self._shown.board.items("servers")
            if isinstance(each, Server)
        }
        for label in labels:
            http, https = sites.pair(label)
            site = http or https
            known = servers.get(site.port) if site is not None else None
            names.append(known or label or "the site")
        return names

    # -- for the rules

    def find(self, head: RequestHead) -> Session | None:
        """Whose the request is."""
        return self._sessions.find(head)

    def leave(self, head: RequestHead) -> None:
        """Who asks goes."""
        session = self._sessions.find(head)
        if session is not None:
            self.visitors.remove(session)

    def has_room(self, session: Session) -> bool:
        """Whether it may open another WebSocket."""
        return len(session.open) < MAX_OPEN and len(self._sockets) < MAX_SOCKETS

    def link_to(self, label: str, head: RequestHead) -> str | None:
        """Where the site with `label` is for this visitor, with a ticket if it asks for a passcode;
        None: there is no such site."""
        shown, session = self._shown, self._sessions.find(head)
        try:
            site = shown.sites().find(label, HTTPS_PORT if is_https(head) else 0)
        except RefusedError:
            return None
        host = authority_of(head).decode("ascii", "replace")  # the relay's word
        authority = with_label(host, self._about.name, label)
        if authority is None or not host.isascii() or site.is_own or session is None:
            return None
        url = f"{'https' if is_https(head) else 'http'}://{authority}"
        if shown.tickets is None or not shown.asks(site):
            return f"{url}/"
        at = RequestHead(1, [(b"Host", authority.encode())], b"GET", b"/")
        ticket = shown.tickets.issue(host_of(at), session.number)
        return f"{url}{PASSCODE.decode()}?{PARAMETER.decode()}={ticket}"

    # -- WebSockets

    def open(self, head: RequestHead) -> End:
        """What answers a request that the rules let through. Raises RefusedError."""
        session = self._sessions.find(head)
        if session is None or not is_own_origin(head):
            raise RefusedError(Code.NOT_ALLOWED, "this browser is not in any more")
        talk, what = self._talk(head, session)
        visitor = session.visitor
        end = WebSocketEnd(talk, lambda: self._over(end, session, close), visitor)

        def close(why: str) -> None:
            end.close(OUT if why else GOING_AWAY, why)

        self._sockets.add(end)
        self.visitors.opened(session, close, what)
        return end

    def _talk(self, head: RequestHead, session: Session) -> tuple[Talk, str]:
        """What is spoken there, and the name of the terminal."""
        shown = self._shown
        if head.path == TERMINAL:
            names = parse_qs(head.target.partition(b"?")[2].decode("ascii", "replace")).get("name")
            name = (names or [""])[0]
            read_only = shown.terminals != "write"
            talk = TerminalTalk(shown.hub, name, session, read_only=read_only)
            return talk, name if name in shown.hub.names() else ""
        hidden = frozenset(("terminals",)) if shown.terminals == "none" else frozenset[str]()
        return News(shown.board, session, lambda: self._words(session), hidden), ""

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

    def _over(self, end: WebSocketEnd, session: Session, close: Callable[[str], None]) -> None:
        self._sockets.discard(end)
        self.visitors.closed(session, close)

    def _still_in(self, number: str, host: bytes) -> bool:
        """See Tickets.still_in."""
        first = host.decode("ascii", "replace").partition(".")[0]
        return self.visitors.used(number, first.partition("--")[2])


class _Gate(RequestRule):
    """Before anything else is looked at: what comes without TLS where there is TLS goes there, and
    what pages of other sites ask for is refused."""

    def __init__(self, page: GuestPage, about: About) -> None:
        self._page, self._has_tls = page, about.has_tls

    def request(self, head: RequestHead) -> Reply | None:
        """See Rule.request."""
        if not self._page.is_open:
            return page_reply(head, _CLOSED)
        if self._has_tls and not is_https(head):
            to = [(b"Location", self._page.url.encode()), (b"Content-Type", b"text/plain")]
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
