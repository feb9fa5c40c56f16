"""`vshare up`: find the machine, register with a relay, serve guests until it ends."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime
import os
import secrets
import socket
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tunnel.address import RelayAddress, parse_relay
from tunnel.console import Console, Interrupt, printable
from tunnel.control import Registered
from tunnel.errors import RemoteProtocolError, UsageError, VshareError
from tunnel.identity import Authority, fingerprint
from tunnel.lan import Networks, lan_interfaces, no_networks
from tunnel.names import ShareName, parse_name
from tunnel.parking import Paired
from vshare import qr, ssh_leftovers, ssh_setup
from vshare.approval_prompt import ask_for_approvals
from vshare.audit import AuditLog, open_log
from vshare.calls import share_calls
from vshare.dashboard import server as dashboard
from vshare.dashboard.request_log import RequestLog
from vshare.detach import Leaving
from vshare.direct import DirectDoor
from vshare.embedded import embedded_relay
from vshare.expiry import Expiry
from vshare.exposed import Exposed
from vshare.exposure import describe
from vshare.fences import confirm
from vshare.group import Group
from vshare.guest_page.handlers import PageHandlers
from vshare.guest_page.setup import Host, add_guest_page
from vshare.guests import Guests
from vshare.handlers import Handlers
from vshare.live_line import live_line
from vshare.live_share import LiveShare, clock
from vshare.look import Found, find_machine, look
from vshare.machine import is_loopback
from vshare.news import Newsroom
from vshare.no_sleep import awake
from vshare.notify import Notifier
from vshare.options import Options
from vshare.own_domain_handlers import DomainHandlers
from vshare.own_domains import OwnDomains
from vshare.policy import Policy
from vshare.reach_machine import MachineReach
from vshare.reception import Reception
from vshare.refusals import RelayEndedError
from vshare.registration import Registration
from vshare.relay_link import RelayLink
from vshare.relay_tokens import token_for
from vshare.renaming import Named, Renaming
from vshare.rules import make_policy
from vshare.running import share_socket
from vshare.screen import Screen
from vshare.server import ShareServer
from vshare.ssh_sharing import SshSharing
from vshare.streams import Streams
from vshare.terminals.handlers import TerminalHandlers
from vshare.together.setup import Together, serve_ports
from vshare.web.access_setup import make_access
from vshare.web.site_rules import site_rules
from vshare.web.tls_door import TlsDoor, make_tls_door
from vshare.web.visits import Visits

NOTICEABLY = 60.0  # seconds that a relay may grant less without a word
ROUTE_SIZE = 16  # bytes: 128 bits that a stranger cannot guess


@dataclass(frozen=True, slots=True)
class Sharing:
    """All that one `vshare up` works with, once the machine is found."""

    options: Options
    found: Found
    policy: Policy
    reach: MachineReach
    relay: RelayAddress
    console: Console
    interrupt: Interrupt
    expires_at: float  # seconds since the epoch
    route: str  # how guests find the share at the relay
    group: Group
    leaving: Leaving | None = None  # the terminal, once it is up


async def share_up(
    options: Options,
    console: Console,
    interrupt: Interrupt,
    leaving: Leaving | None = None,
    group: Group | None = None,
) -> None:
    """Share until Ctrl-C, expiry or the relay's word. `leaving`: how to go into the background
    then; `group`: what is shared beside it. Raises VshareError, alone or in a group."""
    options.check()
    if options.qr:
        qr.check(console)
    if options.ssh is not None:
        ssh_setup.check(options.ssh)
    await ssh_leftovers.clean_leftovers(console.detail)
    machine = await find_machine(options, console)
    console.machine = machine.name
    exposed = Exposed(options.expose) if options.expose else None
    async with MachineReach(machine, exposed) as reach:
        found = await look(options, machine, reach, console)
        policy = make_policy(options, found, only_loopback=reach.reaches_loopback)
        for line in describe(found.report, policy):
            console.detail(line)
        if options.ask:
            policy = await confirm(policy, found.report, console)
        policy = serve_ports(policy, found, options.servers)
        async with relay_for(options, console) as relay:
            await _serve(
                Sharing(
                    options,
                    found,
                    policy,
                    reach,
                    relay,
                    console,
                    interrupt,
                    expires_at=time.time() + options.expires_in,
                    route=secrets.token_hex(ROUTE_SIZE),
                    group=group or Group(),
                    leaving=leaving,
                )
            )


@contextlib.asynccontextmanager
async def relay_for(options: Options, console: Console) -> AsyncIterator[RelayAddress]:
    """The relay that is named, or one in this process."""
    text = options.relay or os.environ.get("VSHARE_RELAY")
    if text and not options.lan:
        yield parse_relay(text)
        return
    async with embedded_relay(lan=options.lan) as relay:
        scope = "everybody on this network" if options.lan else "programs on this host alone"
        console.step(f"No relay is configured: using one inside this process, for {scope}.")
        yield relay


class _Doorman:
    """What the link to the relay calls, as soon as there is a server for it."""

    def __init__(self) -> None:
        self.share: LiveShare | None = None

    async def gateway_changed(self, key: bytes) -> None:
        """The relay came back with another gateway key: the old one's certificate is void."""
        if self.share is not None:
            await self.share.publish()

    def visitor(self, sock: socket.socket, paired: Paired) -> None:
        """A paired connection of the relay's."""
        if self.share is None:
            sock.close()
        else:
            self.share.server.visitor(sock, paired.address, kind=paired.kind)

    def direct_visitor(self, sock: socket.socket, address: str) -> None:
        """A connection of the share's own door."""
        if self.share is None:
            sock.close()
        else:
            self.share.server.visitor(sock, address, direct=True)


async def _serve(sharing: Sharing) -> None:
    """Put the SSH key into the machine where that is wanted, register with the relay, serve."""
    options, found = sharing.options, sharing.found
    newsroom = Newsroom()
    newsroom.subscribe(Screen(sharing.console).news)
    doorman = _Doorman()
    wanted = parse_name(options.name) if options.name else None
    has_site = (found.http_port or found.https_port) is not None
    with_url = options.http and (has_site or options.guest_page is not None)
    through = with_url and options.passthrough is not None
    async with AsyncExitStack() as stack:
        if options.no_sleep:
            await stack.enter_async_context(awake(sharing.console))
        ssh = None
        if options.ssh is not None:
            ssh = await stack.enter_async_context(
                ssh_setup.share_ssh(
                    options.ssh,
                    found,
                    sharing.reach,
                    newsroom,
                    sharing.console,
                    sharing.expires_at,
                )
            )
        token = token_for(sharing.relay, options.token_file)
        own_domains = OwnDomains(options.own_domains)
        sharing.console.step("Creating the share...")

        def link_to(key: Ed25519PrivateKey, name: ShareName | None) -> RelayLink:
            return RelayLink(
                sharing.relay,
                key,
                name,
                on_visitor=doorman.visitor,
                http=with_url,
                expires_at=doorman.share.expiry.at if doorman.share else sharing.expires_at,
                route=sharing.route,
                on_gateway_key=doorman.gateway_changed if with_url and not through else None,
                passthrough=through,
                token=token,
                on_notice=lambda text: newsroom.tell(
                    "notice", f"The relay says: {printable(text)}", warning=True
                ),
                own_domains=own_domains,
            )

        registration = await stack.enter_async_context(Registration(link_to, wanted))
        await _serve_guests(sharing, registration, doorman, newsroom, ssh)


async def _serve_guests(
    sharing: Sharing,
    registration: Registration,
    doorman: _Doorman,
    newsroom: Newsroom,
    ssh: SshSharing | None,
) -> None:
    """Make the share's identity, publish, tell people, and stay."""
    options, console = sharing.options, sharing.console
    registered = registration.link.registered
    name = _own_name(registered.name, options.name)
    console.detail(f"Share will be at: {name}")
    authority = Authority(name, datetime.datetime.now(datetime.UTC))
    identity = authority.issue_share()
    if ssh is not None:
        ssh.share_fingerprint = fingerprint(identity.certificate)
    guests = Guests()
    reception = _reception(sharing, authority, guests, newsroom)
    policy = dataclasses.replace(sharing.policy, names=sharing.policy.names | {name})
    door = DirectDoor(sharing.route, doorman.direct_visitor, _networks(options, sharing.relay))
    calls = share_calls(
        sharing.found,
        lambda: share.name,
        ssh,
        door.places,
        lambda: sharing.group.others(share.name),
        lambda: share.link.places.named,
    )
    access = await make_access(options.access, name, sharing.found.machine.name, newsroom)
    rules = site_rules(sharing.found, access, name, registered.https_url, registered.url)
    request_log = RequestLog()
    visits = Visits(sharing.found.sites, rules.__getitem__, request_log)
    streams = Streams(policy, sharing.reach, calls, newsroom, ssh, visits)
    host = Host(name, sharing.found.machine.name, sharing.relay.host, registered, access)
    page = add_guest_page(options, host, streams, newsroom)
    tls_door = _tls_door(sharing, streams, name, registered.domain)
    server = ShareServer(
        name,
        identity,
        guests,
        reception,
        streams,
        newsroom,
        tls_door=tls_door,
        attempts=sharing.group.attempts,
    )
    share = LiveShare(
        name,
        sharing.found.machine.name,
        sharing.relay,
        registration,
        newsroom,
        server,
        reception,
        streams,
        ssh,
        Expiry(_granted(sharing, registered)),
        access,
        tls_door.certificate if tls_door is not None else None,
        guest_page=page,
    )
    sharing.reach.on_moved = share.machine_moved
    await _serve_at(sharing, share, doorman, (tls_door, door), request_log)


async def _serve_at(
    sharing: Sharing,
    share: LiveShare,
    doorman: _Doorman,
    doors: tuple[TlsDoor | None, DirectDoor],
    request_log: RequestLog,
) -> None:
    """Open the doors, for guests and for other terminals, and stay."""
    options, console, newsroom = sharing.options, sharing.console, share.newsroom
    tls_door, door = doors
    async with AsyncExitStack() as stack:
        log = stack.enter_context(open_log(share.name, console.warn))
        newsroom.subscribe(log.news)
        notifier = None
        if options.notify is not None:
            notifier = Notifier(options.notify, share.name, console.warn)
            newsroom.subscribe((await stack.enter_async_context(notifier)).news)
        share.together = Together(
            options,
            sharing.found,
            share.streams,
            newsroom,
            share.server.guests,
            browsers=lambda: sum(each.is_here for each in share.visitors),
        )
        terminals = TerminalHandlers(share.streams.terminals, sharing.reach.link)
        named = Named(log, notifier, tls_door, is_detached=sharing.leaving is not None)
        renaming = Renaming(share, sharing.found, options, console, named)
        page = PageHandlers(share.guest_page)
        domains = DomainHandlers(share, renaming.turn)
        tables = (Handlers(share), share.together, terminals, page, renaming, domains)
        handlers = {kind: handle for each in tables for kind, handle in each.table().items()}
        made = share_socket(share.name, handlers, newsroom, terminals.sessions())
        renaming.socket = await stack.enter_async_context(made)
        if options.dashboard:
            shown = dashboard.Share(
                request_log, handlers, newsroom, share.streams, share.streams.carry
            )
            share.dashboard = await stack.enter_async_context(dashboard.Dashboard(shown))
        end = _End("failed", "the share has failed")
        try:
            async with tls_door or contextlib.nullcontext(), share.server, door:
                doorman.share = share
                _tell_of_door(door, console)
                end = await _until_the_end(sharing, share, log)
        finally:  # told last: streams that ran until now have been told
            newsroom.tell("ended", reason=end.reason)
            log.close()  # what could not be written is counted in a last line
            Screen(console).ended(end.reason, str(log.path), log.head)
    end.check()


def _reception(
    sharing: Sharing, authority: Authority, guests: Guests, newsroom: Newsroom
) -> Reception:
    """Who comes in, by the group's code."""
    return Reception(
        authority,
        guests,
        newsroom,
        route=sharing.route,
        approve=sharing.options.approve,
        group=sharing.group,
    )


def _tls_door(sharing: Sharing, streams: Streams, name: ShareName, domain: str) -> TlsDoor | None:
    """Where browsers' TLS ends, if it does so here."""
    options = sharing.options
    tls_door = make_tls_door(options.passthrough, streams, name, domain, options.own_domains)
    for warning in tls_door.warnings(sharing.expires_at) if tls_door is not None else ():
        sharing.console.warn(warning)
    return tls_door


def _networks(options: Options, relay: RelayAddress) -> Networks:
    """Where guests may come to directly. A relay on loopback is for guests on this very host."""
    if options.direct and not is_loopback(relay.host):
        return lan_interfaces
    return no_networks


def _tell_of_door(door: DirectDoor, console: Console) -> None:
    places = ", ".join(door.places())
    if places:
        console.detail(f"Guests on this network come straight to {places} (not with --relay-only).")


def _granted(sharing: Sharing, registered: Registered) -> float:
    """When the share ends: the relay may grant less than was asked for."""
    granted = time.time() + registered.expires_in
    if granted < sharing.expires_at - NOTICEABLY:
        sharing.console.warn(f"the relay grants no more than until {clock(granted)}")
    return min(sharing.expires_at, granted)


def _own_name(given: str, wanted: str | None) -> ShareName:
    """The name that the relay gave: its word, so it is looked at before it is used."""
    try:
        name = parse_name(given)
    except UsageError as error:
        raise RemoteProtocolError(f"the relay gave a name that is none: {given[:60]!r}") from error
    if wanted is not None and name != parse_name(wanted):
        raise RemoteProtocolError(f"the relay gave the name {name!r} in place of {wanted!r}")
    return name


@dataclass(frozen=True, slots=True)
class _End:
    """Why a share ends: a word for programs, a sentence for guests."""

    reason: str
    text: str

    def check(self) -> None:
        """Raise VshareError unless the sharer wanted it."""
        if self.reason == "expired":
            raise VshareError(
                "the share has expired", "start it again with vshare up; --expires sets how long"
            )
        if self.reason not in ("interrupted", "stopped"):
            raise RelayEndedError(self.reason, self.text)


async def _until_the_end(sharing: Sharing, share: LiveShare, log: AuditLog) -> _End:
    """Publish, tell people, serve, and say goodbye to the guests."""
    if share.link.registered.url and share.browsers is None:
        await share.publish()
    with contextlib.ExitStack() as stack:
        sharing.group.add(share)
        stack.callback(sharing.group.remove, share)
        await sharing.group.complete()
        _begin(sharing, share, log)
        end = await _wait_for_the_end(sharing, share)
        share.server.notify("audit", log.head)
        share.server.notify("ended", end.text)
        return end


def _begin(sharing: Sharing, share: LiveShare, log: AuditLog) -> None:
    """It is up: tell people, and leave the terminal if that is wanted."""
    share.newsroom.tell(
        "started",
        name=share.name,
        machine=share.machine,
        relay=str(share.relay),
        expires_at=share.expiry.at,
        shared=share.streams.policy.describe(),
    )
    share.link.own_domains.begin(share.newsroom)
    if share.together is not None:
        share.together.begin()
    Screen(sharing.console).started(
        share,
        sharing.found,
        str(log.path),
        qr=sharing.options.qr,
        stays=sharing.leaving is None,
    )
    if sharing.group.begun() and sharing.leaving is not None:
        sharing.leaving.leave(sharing.group.name, sharing.console)
    sharing.interrupt.serving = True
    sharing.console.waits_for_reader = False


async def _wait_for_the_end(sharing: Sharing, share: LiveShare) -> _End:
    console = sharing.console
    async with asyncio.TaskGroup() as group:
        stopped = group.create_task(sharing.interrupt.stopped.wait(), name="ctrl-c")
        asked = group.create_task(share.stopped.wait(), name="vshare stop")
        expired = group.create_task(share.expiry.run(), name="expiry")
        ended = group.create_task(asyncio.wait([share.registration.ended]), name="relay's end")
        helpers = [
            group.create_task(live_line(sharing.group, console), name="live line"),
            group.create_task(share.reception.end_invites(), name="invites"),
            group.create_task(share.extend_ssh(), name="SSH key's end"),
        ]
        if share.guest_page is not None and share.guest_page.served is not None:
            serving = share.guest_page.served.run(sharing.reach, share.publish_sites)
            helpers.append(group.create_task(serving, name="served sites"))
        if share.reception.approvals is not None and not console.as_json:
            asking = ask_for_approvals(share.reception.approvals, console)
            helpers.append(group.create_task(asking, name="approvals"))
        done, waiting = await asyncio.wait(
            {stopped, asked, expired, ended}, return_when=asyncio.FIRST_COMPLETED
        )
        for task in (*waiting, *helpers):
            task.cancel()
    if stopped in done or asked in done:
        console.step("Halting the share!")
        return _End("interrupted" if stopped in done else "stopped", "the sharer has ended it")
    if expired in done or share.registration.ended.result().code == "expired":
        return _End("expired", "it has expired")
    last = share.registration.ended.result()
    return _End(last.code, last.text)
