"""Makes the guest page of a share, from what the command line says."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tunnel.control import Registered
from tunnel.errors import VshareError
from tunnel.names import ShareName
from vshare.guest_page.page import LABEL, About, GuestPage, Shown, Terminals
from vshare.guest_page.sessions import Sessions
from vshare.news import Newsroom
from vshare.qr import pick
from vshare.terminals.hub import Hub
from vshare.together.board import Board
from vshare.web.access import Addresses
from vshare.web.access_setup import Access, read_passcode
from vshare.web.guessing import Guessing
from vshare.web.passcode import make_passcode
from vshare.web.sites import Sites, with_label
from vshare.web.tries import Tries

SECRET = 16  # bytes: of a cookie


@dataclass(frozen=True, slots=True)
class GuestPageOptions:
    """`--guest-page` and what goes with it."""

    terminals: Terminals = "read"
    passcode_file: Path | None = None  # None: one is made

    def check(self) -> None:
        """Raise UsageError for a file that cannot be used."""
        if self.passcode_file is not None:
            read_passcode(self.passcode_file)


@dataclass(frozen=True, slots=True)
class Host:
    """The share that the page is of. `sites` gives what is shared at the moment."""

    name: ShareName
    machine: str
    relay: str
    registered: Registered
    access: Access
    is_passed_through: bool
    board: Board
    hub: Hub
    sites: Callable[[], Sites]


def make_guest_page(options: GuestPageOptions, host: Host, newsroom: Newsroom) -> GuestPage:
    """The page. Raises VshareError where it has no address, or is not complete."""
    url = page_url(host.registered, host.name)
    if url is None:
        raise VshareError(
            "the guest page has no address at this relay: it has no names for sites",
            "leave --guest-page out, or use a relay with a domain",
        )
    https = url.rstrip("/") if url.startswith("https://") else ""
    about = About(host.name, host.machine, host.relay, https, host.is_passed_through)
    access = host.access
    shown = Shown(host.board, host.hub, host.sites, options.terminals, access.tickets)
    file = options.passcode_file
    return GuestPage(
        read_passcode(file) if file is not None else make_passcode(secrets.randbelow),
        about,
        shown,
        newsroom,
        Tries(time.monotonic, Guessing(newsroom)),
        Sessions(lambda: secrets.token_urlsafe(SECRET), time.time),
        [rule for rule in access.rules if isinstance(rule, Addresses)],
    )


def page_url(registered: Registered, name: ShareName) -> str | None:
    """Where the page of the share `name` is; None: nowhere."""
    scheme, _, rest = pick(registered.url, registered.https_url).partition("://")
    authority = with_label(rest.partition("/")[0], name, LABEL)
    return f"{scheme}://{authority}/" if authority is not None else None
