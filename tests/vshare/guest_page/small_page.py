"""A guest page with real parts: its board, its terminals, a machine with two sites."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

from tests.vshare.web.requests import FORM, Clock, cookie, request, submit
from tunnel.ends import End
from tunnel.http_heads import RequestHead
from tunnel.names import ShareName
from vshare.guest_page.door import PATH
from vshare.guest_page.files import KINDS, Files
from vshare.guest_page.page import About, GuestPage, Shown, Terminals
from vshare.guest_page.sessions import Sessions
from vshare.news import News, Newsroom
from vshare.terminals.hub import Hub
from vshare.terminals.terminal import SharedTerminal, Terms
from vshare.together.board import Board
from vshare.web.rules import Form, Reply, Rule
from vshare.web.sites import Site, Sites
from vshare.web.tickets import Tickets
from vshare.web.tries import Tries

NAME = ShareName("frosty-weasel-0857")
DOMAIN = "relay.example"
HOST = f"{NAME}--join.{DOMAIN}"
SITES = {"web": Site("web", 3000, title="Shop"), "5601": Site("5601", 5601)}
PASSCODE = "k7mq-2xdp"
# What is fetched from npm is no part of the source, and of no matter to the page's rules.
OWN_FILES = {name: kind for name, kind in KINDS.items() if not name.startswith("vendor/")}


class Program:
    """Keeps what is typed; `terminal.output` is what it says."""

    def __init__(self) -> None:
        self.typed = b""

    def write(self, data: bytes) -> None:
        self.typed += data

    def resize(self, columns: int, rows: int) -> None:
        pass

    def pause(self) -> None:
        pass

    def resume(self) -> None:
        pass

    def close(self) -> None:
        pass


class SmallPage:
    """To be made inside an event loop. `told` is what the sharer hears."""

    def __init__(
        self,
        terminals: Terminals = "read",
        *,
        url: str = f"https://{HOST}/",
        is_passed_through: bool = False,
        files: Files | None = None,
        clock: Callable[[], float] | None = None,
        before: Sequence[Rule] = (),
        board: Board | None = None,
        hub: Hub | None = None,
    ) -> None:
        self.clock = clock or Clock()
        self.board, self.newsroom = board or Board(), Newsroom()
        self.hub = hub or Hub(board=lambda terminals: self.board.set("terminals", terminals))
        self.told: list[News] = []
        self.newsroom.subscribe(self.told.append)
        secrets = (f"secret-{number}" for number in itertools.count())
        self.tickets = Tickets(lambda: f"ticket-{next(secrets)}", self.clock)
        self.sessions = Sessions(lambda: next(secrets), self.clock)
        self.page = GuestPage(
            PASSCODE,
            About(NAME, "shop", DOMAIN, url, is_passed_through),
            Shown(self.board, self.hub, lambda: self.sites, terminals, self.tickets),
            self.newsroom,
            Tries(self.clock),
            self.sessions,
            before,
            files or Files(OWN_FILES),
        )
        self.sites = Sites(others={**SITES, self.page.site.label: self.page.site})

    def terminal(
        self, name: str = "main", *, read_write: bool = False
    ) -> tuple[SharedTerminal, Program]:
        """One that is shared."""
        terminal, program = self.hub.open(name, Terms(read_write=read_write)), Program()
        terminal.run(program)
        return terminal, program

    def ask(self, head: RequestHead) -> Reply | Form | None:
        """What the rules say to a request."""
        for rule in self.page.rules:
            said = rule.request(head)
            if said is not None:
                return said
        return None

    def come_in(self, name: str = "eve", host: str = HOST, passcode: str = PASSCODE) -> str:
        """The cookie of a browser that gave the passcode."""
        return cookie(self.join(name, host=host, passcode=passcode))

    def join(
        self, name: str = "eve", *, host: str = HOST, passcode: str = PASSCODE, origin: str = ""
    ) -> Reply:
        """What the form is answered with."""
        more = {**FORM, "Origin": origin or f"https://{host}"}
        head = request(PATH.decode(), "POST", host=host, more=more)
        return submit(self.ask(head), name=name, passcode=passcode)

    def open(self, head: RequestHead) -> End | Reply | Form:
        """A WebSocket, if the rules let it through."""
        said = self.ask(head)
        return self.page.open(head) if said is None else said


def upgrade(path: str, cookie: str = "", origin: str = f"https://{HOST}") -> RequestHead:
    """The request for a WebSocket as a browser makes it."""
    more = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version": "13",
    }
    more |= {"Origin": origin} if origin else {}
    more |= {"Cookie": cookie} if cookie else {}
    return request(path, host=HOST, more=more)
