"""`vshare up`: find the machine, register with a relay, serve guests until it ends."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import os
import secrets
import socket
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass

from tunnel.address import RelayAddress, parse_relay
from tunnel.console import Console, Interrupt
from tunnel.errors import RemoteProtocolError, UsageError, VshareError
from tunnel.identity import Authority, load_public_der
from tunnel.names import JoinCode, ShareName, make_code, parse_name
from tunnel.parking import Paired
from vshare import find_libvirt, find_target, find_vagrant
from vshare.embedded import embedded_relay
from vshare.guests import Guest
from vshare.http_probe import candidates, no_http_error, probe
from vshare.listening import Listening, find_listeners
from vshare.machine import LOOPBACK, SSH_PORT, Machine, Source, is_loopback
from vshare.name_key import name_key
from vshare.policy import Policy
from vshare.reach_machine import MachineReach
from vshare.relay_link import RelayLink
from vshare.server import Calls, Events, ShareServer

EXPIRES_IN = 8 * 3600.0  # seconds, as Vagrant Share had it
SSH_PROGRAMS = frozenset({"sshd", "dropbear", "tinysshd"})
MAX_SHOWN = 12  # listeners named on the screen; the rest is counted


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says."""

    machine: str | None = None
    domain: str | None = None
    target: str | None = None
    relay: str | None = None
    lan: bool = False
    name: str | None = None
    http: bool = True
    http_port: int | None = None
    https_port: int | None = None
    ports: tuple[int, ...] = ()
    loopback: tuple[int, ...] = ()
    expires_in: float = EXPIRES_IN

    def check(self) -> None:
        """Raise UsageError for what cannot be meant."""
        if sum(value is not None for value in (self.machine, self.domain, self.target)) > 1:
            raise UsageError(
                "more than one machine is named",
                "give one of: the Vagrant machine's name, --domain NAME, --target ADDRESS",
            )
        if not self.http and (self.http_port or self.https_port):
            raise UsageError(
                "--disable-http and --http or --https contradict each other", "leave one out"
            )
        if self.lan and self.relay:
            raise UsageError("--lan and --relay contradict each other", "leave one out")
        if self.name is not None:
            parse_name(self.name)
        if self.relay is not None:
            parse_relay(self.relay)


@dataclass(frozen=True, slots=True)
class Found:
    """What was found out about the machine."""

    machine: Machine
    listening: Listening
    http_port: int | None
    https_port: int | None


@dataclass(frozen=True, slots=True)
class Sharing:
    """All that one `vshare up` works with, once the machine is found."""

    options: Options
    found: Found
    reach: MachineReach
    relay: RelayAddress
    console: Console
    interrupt: Interrupt


async def share_up(options: Options, console: Console, interrupt: Interrupt) -> None:
    """Share until Ctrl-C, expiry or the relay's word. Raises VshareError, alone or in a group."""
    options.check()
    machine = await find_machine(options, console)
    console.machine = machine.name
    async with MachineReach(machine) as reach:
        found = await _look(options, machine, reach, console)
        async with _relay(options, console) as relay:
            await _serve(Sharing(options, found, reach, relay, console, interrupt))


async def find_machine(options: Options, console: Console) -> Machine:
    """The machine that the command line means. Raises VshareError."""
    if options.target is not None:
        machine = await find_target.find(options.target)
    elif options.domain is not None:
        console.step(f"Looking at the libvirt domain {options.domain!r}...")
        with console.busy("asking libvirt"):
            machine = await find_libvirt.find(options.domain)
    else:
        console.step("Looking at the Vagrant environment of this directory...")
        with console.busy("asking vagrant"):
            machine = await find_vagrant.find(options.machine)
    return machine


async def _look(options: Options, machine: Machine, reach: MachineReach, console: Console) -> Found:
    """What listens on the machine, and which port speaks HTTP."""
    if machine.source is not Source.TARGET:
        console.detail(f"Provider: {machine.provider}, state: {machine.state}")
    where = machine.address or "none of its own: everything goes through SSH"
    console.detail(f"Local machine address: {where}")
    if machine.address and is_loopback(machine.address) and not options.ports:
        console.warn("this host itself is shared, what listens on its loopback included;")
        console.detail("--port restricts it to the ports that you name")
    if machine.ssh is not None:
        console.detail(f"SSH: {machine.ssh}")
    with console.busy("asking the machine what listens on it"):
        listening = await find_listeners(reach.link, as_root=machine.source is Source.VAGRANT)
    console.detail(_describe(listening))
    if not options.http:
        return Found(machine, listening, None, None)
    wanted = candidates(
        machine,
        listening,
        http=options.http_port,
        https=options.https_port,
        loopback=options.loopback,
    )
    with console.busy("looking for HTTP"):
        result = await probe(reach, wanted)
    if result.http_port is None and result.https_port is None:
        raise no_http_error(machine, result)
    console.step(f"Local HTTP port: {result.http_port or 'disabled'}")
    console.detail(f"Local HTTPS port: {result.https_port or 'disabled'}")
    return Found(machine, listening, result.http_port, result.https_port)


def _describe(listening: Listening) -> str:
    if listening.unknown:
        return f"What listens on it is not known: {listening.unknown}"
    shown = [
        f"{each.port}/{each.protocol}{' ' + each.process if each.process else ''}"
        + (" (loopback only)" if each.loopback_only else "")
        for each in listening.listeners[:MAX_SHOWN]
    ]
    more = len(listening.listeners) - len(shown)
    return "Listening: " + ", ".join(shown) + (f" and {more} more" if more > 0 else "")


@contextlib.asynccontextmanager
async def _relay(options: Options, console: Console) -> AsyncIterator[RelayAddress]:
    text = options.relay or os.environ.get("VSHARE_RELAY")
    if text and not options.lan:
        yield parse_relay(text)
        return
    async with embedded_relay(lan=options.lan) as relay:
        scope = "everybody on this network" if options.lan else "programs on this host alone"
        console.step(f"No relay is configured: using one inside this process, for {scope}.")
        yield relay


def make_policy(options: Options, found: Found, name: ShareName, *, only_loopback: bool) -> Policy:
    """What guests may open. `only_loopback`: the machine is reached at its own loopback, so what
    was meant for that alone has to be kept closed here."""
    machine = found.machine
    names = {name, machine.name.lower()}
    if machine.address:
        names.add(machine.address.lower())
    ssh = {each.port for each in found.listening.listeners if each.process in SSH_PROGRAMS}
    if machine.ssh is not None and machine.ssh.host == machine.address:
        ssh.add(machine.ssh.port)
    hidden = {each.port for each in found.listening.listeners if each.loopback_only}
    hidden -= {each.port for each in found.listening.listeners if not each.loopback_only}
    hidden -= {options.http_port, options.https_port}  # named by the sharer
    # Where it is not known what was meant for the loopback alone, nothing is open unasked.
    unknown = only_loopback and bool(found.listening.unknown)
    return Policy(
        names=frozenset(names | {LOOPBACK, "localhost"} if only_loopback else names),
        only_ports=frozenset(options.ports) if options.ports or unknown else None,
        loopback_ports=frozenset(options.loopback),
        hidden_ports=frozenset(hidden) if only_loopback else frozenset(),
        ssh_ports=frozenset(ssh | {SSH_PORT}),
        http_ports=frozenset(
            port for port in (found.http_port, found.https_port) if port is not None
        ),
    )


class _Doorman:
    """What the link to the relay calls, as soon as there is a server for it."""

    def __init__(self, found: Found) -> None:
        self.server: ShareServer | None = None
        self.link: RelayLink | None = None
        self._found = found

    async def gateway_changed(self, key: bytes) -> None:
        """The relay came back with another gateway key: the old one's certificate is void."""
        if self.server is not None and self.link is not None:
            await _publish(self.link, self.server, self._found)

    def visitor(self, sock: socket.socket, paired: Paired) -> None:
        """A paired connection of the relay's."""
        if self.server is None:
            sock.close()
        else:
            self.server.visitor(sock, paired.address)


async def _serve(sharing: Sharing) -> None:
    """Register with the relay, and serve."""
    options = sharing.options
    sharing.console.step("Creating the share...")
    doorman = _Doorman(sharing.found)
    wanted = parse_name(options.name) if options.name else None
    with name_key(wanted) as key:
        link = RelayLink(
            sharing.relay,
            key,
            wanted,
            on_visitor=doorman.visitor,
            http=options.http,
            expires_in=options.expires_in,
            on_gateway_key=doorman.gateway_changed if options.http else None,
        )
        async with link:
            await _serve_guests(sharing, link, doorman)


async def _serve_guests(sharing: Sharing, link: RelayLink, doorman: _Doorman) -> None:
    """Make the share's identity, publish, tell people, and stay."""
    options, found, console = sharing.options, sharing.found, sharing.console
    name = _own_name(link.registered.name, options.name)
    code = make_code(secrets.randbelow)
    console.detail(f"Share will be at: {name}")
    only_loopback = sharing.reach.reaches_loopback
    policy = make_policy(options, found, name, only_loopback=only_loopback)
    authority = Authority(name, datetime.datetime.now(datetime.UTC))
    calls = _calls(found, policy, name)
    events = _events(console)
    async with ShareServer(name, authority, code, policy, sharing.reach, calls, events) as server:
        doorman.server, doorman.link = server, link
        if options.http:
            await _publish(link, server, found)
        console.step("Your share is running!")
        if console.as_json:
            _tell_scripts(sharing, link, name, code)
        else:
            _tell_people(sharing, link, name, code, policy)
        sharing.interrupt.serving = True
        await _until_the_end(sharing, link)


def _own_name(given: str, wanted: str | None) -> ShareName:
    """The name that the relay gave: its word, so it is looked at before it is used."""
    try:
        name = parse_name(given)
    except UsageError as error:
        raise RemoteProtocolError(f"the relay gave a name that is none: {given[:60]!r}") from error
    if wanted is not None and name != parse_name(wanted):
        raise RemoteProtocolError(f"the relay gave the name {name!r} in place of {wanted!r}")
    return name


async def _publish(link: RelayLink, server: ShareServer, found: Found) -> None:
    key = load_public_der(link.gateway_key)
    certificate, ca = (ssl.DER_cert_to_PEM_cert(each) for each in server.issue_gateway(key))
    await link.publish(found.http_port, found.https_port, certificate, ca)


def _calls(found: Found, policy: Policy, name: ShareName) -> Calls:
    """The calls inside the tunnel; Vagrant Share had these three."""

    def share_info(guest: Guest) -> object:
        return {
            "name": name,
            "machine": found.machine.name,
            "provider": found.machine.provider,
            "guest": guest.name,
            "shared": policy.describe(),
            "http_port": found.http_port,
        }

    def shared_ports(guest: Guest) -> object:
        return {
            "rights": policy.rights(guest.role),
            "listening": [
                {"protocol": each.protocol, "port": each.port, "process": each.process}
                for each in found.listening.listeners
                if policy.is_open(each.protocol, each.port, loopback_only=each.loopback_only)
            ],
        }

    return {
        "ping": lambda guest: {"pong": True},
        "share-info": share_info,
        "shared-ports": shared_ports,
    }


def _events(console: Console) -> Events:
    def joined(guest: Guest) -> None:
        console.step(f"{guest.name} joined (from {guest.address}, as the relay says)")
        console.event(event="joined", guest=guest.name, address=guest.address)

    def join_failed(why: str, address: str) -> None:
        console.warn(f"somebody tried to join from {address} (as the relay says): {why}")
        console.event(event="join-failed", address=address, text=why)

    return Events(joined, join_failed)


def _tell_scripts(sharing: Sharing, link: RelayLink, name: ShareName, code: JoinCode) -> None:
    sharing.console.event(
        event="started",
        name=name,
        code=code,
        url=link.registered.url or None,
        https_url=link.registered.https_url or None,
        connect=f"{name}@{sharing.relay}",
        machine=sharing.found.machine.name,
        http_port=sharing.found.http_port,
        https_port=sharing.found.https_port,
    )


def _tell_people(
    sharing: Sharing, link: RelayLink, name: ShareName, code: JoinCode, policy: Policy
) -> None:
    """The results, in the manner of Vagrant Share's own words."""
    console, url, https_url = sharing.console, link.registered.url, link.registered.https_url
    console.result("Name:", name)
    console.result("Code:", code)
    if url:
        console.result("URL:", url)
    if https_url:
        console.result("HTTPS URL:", https_url)
    console.result("Others connect with:", f"vconnect {name}@{sharing.relay}")
    console.step(f"Guests can open {policy.describe()}. Tell them the code yourself: whoever")
    console.step("knows name and code is in. " + _public_warning(url))
    console.step("Press Ctrl-C to end the share.")


def _public_warning(url: str) -> str:
    return "Anybody who knows the URL can open it." if url else "There is no public URL."


async def _until_the_end(sharing: Sharing, link: RelayLink) -> None:
    """Wait for Ctrl-C, the relay's last word, or expiry."""
    console, interrupt = sharing.console, sharing.interrupt
    async with asyncio.TaskGroup() as group:
        stopped = group.create_task(interrupt.stopped.wait(), name="ctrl-c")
        expired = group.create_task(asyncio.sleep(sharing.options.expires_in), name="expiry")
        ended = group.create_task(asyncio.wait([link.ended]), name="relay's end")
        done, waiting = await asyncio.wait(
            {stopped, expired, ended}, return_when=asyncio.FIRST_COMPLETED
        )
        for task in waiting:
            task.cancel()
    if stopped in done:
        console.step("Halting the share!")
        console.event(event="ended", reason="interrupted")
        return
    if expired in done or link.ended.result().code == "expired":
        console.event(event="ended", reason="expired")
        raise VshareError(
            "the share has expired", "start it again with vshare up; --expires sets how long"
        )
    text = link.ended.result().text
    console.event(event="ended", reason=link.ended.result().code)
    raise VshareError(f"the relay ended the share: {text}", "start it again with vshare up")
