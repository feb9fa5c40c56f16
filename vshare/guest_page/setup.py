"""Makes the guest page of a share, from what the command line says."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass

from tunnel.control import Registered
from tunnel.errors import VshareError
from tunnel.names import ShareName
from vshare.guest_page.page import LABEL, About, GuestPage, Shown
from vshare.guest_page.served_sites import ServedSites
from vshare.guest_page.sessions import Session, Sessions
from vshare.news import Newsroom
from vshare.options import Options
from vshare.qr import pick
from vshare.streams import Streams
from vshare.web.access import Addresses
from vshare.web.access_setup import KEY, Access, read_passcode
from vshare.web.cookies import Cookies
from vshare.web.guessing import Guessing
from vshare.web.passcode import COOKIE, Passcode, make_passcode
from vshare.web.sites import with_label
from vshare.web.tickets import Tickets
from vshare.web.tries import Tries

SECRET = 16  # bytes: of a cookie


@dataclass(frozen=True, slots=True)
class Host:
    """The share that the page is of; `relay` is its host."""

    name: ShareName
    machine: str
    relay: str
    registered: Registered
    access: Access


def add_guest_page(
    options: Options, host: Host, streams: Streams, newsroom: Newsroom
) -> GuestPage | None:
    """The page, as one of the sites of `streams`, if there is to be one. Raises VshareError where
    it has no address, or is not complete."""
    wanted = options.guest_page
    if wanted is None:
        return None
    url = page_url(host.registered, host.name)
    if url is None:
        raise VshareError(
            "the guest page has no address at this relay: it has no names for sites",
            "leave --guest-page out, or use a relay with a domain",
        )
    passes_through = options.passthrough is not None
    about = About(host.name, host.machine, host.relay, url, passes_through)
    access, visits = host.access, streams.visits
    file = wanted.passcode_file
    passcode = read_passcode(file) if file is not None else new_passcode()
    tries = Tries(time.monotonic, Guessing(newsroom))
    before = [rule for rule in access.rules if isinstance(rule, Addresses)]
    tickets = access.tickets or Tickets(lambda: secrets.token_urlsafe(SECRET), time.monotonic)
    cookies = Cookies(COOKIE, secrets.token_bytes(KEY), time.time)
    asking = Passcode(passcode, cookies, tries, (), tickets, lambda head: page.visitors.came(head))
    served = ServedSites(streams, before, asking, lambda: page.changed())
    shown = Shown(
        streams.board,
        streams.terminals,
        lambda: visits.sites,
        wanted.terminals,
        tickets,
        lambda site: access.tickets is not None or served.asks(site),
    )
    sessions = Sessions(lambda: secrets.token_urlsafe(SECRET), time.time)
    page = GuestPage(passcode, about, shown, newsroom, tries, sessions, before)
    page.served = served
    visits.add_own(page)
    rules = [asking, *(rule for rule in access.rules if isinstance(rule, Passcode))]

    def cut(session: Session) -> None:
        visits.cut(lambda _, head: any(each.owner_of(head) == session.number for each in rules))

    page.visitors.on_removed = cut
    return page


def new_passcode() -> str:
    """One that is drawn at random."""
    return make_passcode(secrets.randbelow)


def page_url(registered: Registered, name: ShareName) -> str | None:
    """Where the page of the share `name` is; None: nowhere."""
    # Where TLS ends at the share there is nothing without TLS, whatever the domain.
    through = registered.https_url if registered.passthrough else ""
    url = through or pick(registered.url, registered.https_url)
    scheme, _, rest = url.partition("://")
    authority = with_label(rest.partition("/")[0], name, LABEL)
    return f"{scheme}://{authority}/" if authority is not None else None
