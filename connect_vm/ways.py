"""How a guest gets to the share: through the relay, or directly where both are in one network.

The relay is where it begins, and where it goes on at once when the direct way fails. A place that
the share names is believed only when TLS there has shown the share's own certificate and HELLO
has come: by a connection of its own (the scout), which stays as long as the way is good, and tells
when it is not. Nobody waits for any of this.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Protocol

import msgspec

from connect_vm.relay_way import RelayWay
from tunnel.address import parse_host_port
from tunnel.client import Client, Dial
from tunnel.connection import Connection
from tunnel.dialler import tune
from tunnel.errors import LostError, UsageError, VshareError
from tunnel.frames import Notice
from tunnel.heap import keep_giving_back
from tunnel.identity import Identity
from tunnel.lan import (
    MAX_ADDRESSES,
    Interface,
    Networks,
    Place,
    direct_socket,
    is_near,
    lan_interfaces,
    no_networks,
    serialize_place,
)
from tunnel.names import ShareName
from tunnel.network_watch import watch_network

DIAL_WITHIN = 0.5  # seconds for TCP to a neighbour, whose answer takes milliseconds
PROVE_WITHIN = 2.0  # seconds for TCP, TLS and HELLO
ASK_EVERY = 180.0  # seconds between questions where no place of the share's is near
LOOK_EVERY = 5.0  # seconds between looks at this host's networks; a look takes a millisecond
PAUSE_FIRST, PAUSE_MOST = 30.0, 600.0  # seconds without the direct way after it failed
LOWEST_PORT = 1024  # the share listens where the system puts it; services are mostly below
# A neighbour that does not acknowledge a probe of the kernel's (tcp(7)) within a second is gone.
PROBE_AFTER, PROBE_INTERVAL, UNANSWERED_MS = 1, 1, 1500
FAILURES = (VshareError, OSError, TimeoutError, ssl.SSLError)

log = logging.getLogger(__name__)


class Paths(msgspec.Struct):
    """The answer to the call `paths` (docs/protocol.md 8.3)."""

    direct: list[str] = []
    relays: list[str] = []


class Session(Protocol):
    """What is needed of a session with the share."""

    async def call(self, name: str) -> bytes:
        """The answer to a call. Raises RefusedError or LostError."""

    def renew(self) -> None:
        """There is a better way: replace connections as they become idle."""

    def suspect(self) -> None:
        """The way has broken: find out which connections live, replace the others."""


@dataclass(frozen=True, slots=True)
class Guest:
    """Who we are, for which share."""

    identity: Identity
    name: ShareName


class Ways:
    """`relay` dials through the relay. `told(place, text)` hears of each change: the place that
    streams go to directly from now on, or None and why not. `run` does the work."""

    def __init__(
        self,
        relay: Dial,
        guest: Guest,
        told: Callable[[Place | None, str], None],
        networks: Networks = lan_interfaces,
    ) -> None:
        self._relay, self._guest, self._told, self._networks = relay, guest, told, networks
        self._failed = asyncio.Event()
        self._why = ""
        self.place: Place | None = None

    async def dial(self) -> socket.socket:
        """Client's `dial`: directly while `place` is set. It does not fall back by itself."""
        if self.place is not None:
            return await dial_place(self.place)
        return await self._relay()

    def failed(self, error: Exception) -> None:
        """The direct way did not lead to the share: the relay's is taken from now on."""
        if self.place is not None:
            log.debug("the direct way to %s failed: %r", serialize_place(self.place), error)
            self.place = None
            self._why = str(error) or "no answer in time"
            self._failed.set()

    async def run(self, session: Session) -> None:
        """Find the direct way, again when it failed or the networks change, until cancelled."""
        loop = asyncio.get_running_loop()
        pause = PAUSE_FIRST
        while True:
            networks = self._networks()
            began = loop.time()
            if not await self._find_and_follow(session, networks):
                pause = PAUSE_FIRST
                await self._wait(ASK_EVERY, networks)
                continue
            if loop.time() - began > PAUSE_MOST:
                pause = PAUSE_FIRST
            changed = await self._wait(pause, networks)
            pause = PAUSE_FIRST if changed else min(pause * 2, PAUSE_MOST)

    async def _find_and_follow(self, session: Session, networks: list[Interface]) -> bool:
        """Try the places that are near; stay with the first that is the share. Whether any was."""
        if not networks and not isinstance(self._relay, RelayWay):
            return False
        answer = await _ask(session)
        if isinstance(self._relay, RelayWay) and self._relay.told(answer.relays):
            session.renew()
        if not networks:
            return False
        for place in places_in(answer):
            if not is_near(place, networks):
                continue
            async with scouted(place, self._guest, self.failed) as there:
                if there:
                    await self._follow(place, session)
                    return True
        return False

    async def _follow(self, place: Place, session: Session) -> None:
        """Use the direct way until it fails."""
        self.place = place
        self._failed.clear()
        session.renew()
        self._told(place, "")
        try:
            while not self._failed.is_set():
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_EVERY):
                        await self._failed.wait()
                if not is_near(place, self._networks()):
                    self.failed(LostError("this host has left that network"))
        finally:
            self.place = None
        session.suspect()
        self._told(None, self._why)

    async def _wait(self, seconds: float, networks: list[Interface]) -> bool:
        """Until the time is over (False) or this host's networks are others (True)."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while (left := until - loop.time()) > 0:
            await asyncio.sleep(min(left, LOOK_EVERY))
            if self._networks() != networks:
                return True
        return False


class GuestClient(Client):
    """A Client whose connections take the direct way where `ways` knows one, else the relay's.

    Whatever goes wrong on the direct way, of whatever kind, ends that way and nothing else: a
    neighbour who plays the share has no say in whether the session goes on.
    """

    def __init__(
        self,
        ways: Ways,
        guest: Guest,
        on_state: Callable[[VshareError | None], None],
        on_notice: Callable[[Notice], None],
    ) -> None:
        super().__init__(ways.dial, guest.identity, guest.name, on_state, on_notice=on_notice)
        self._ways = ways

    @property
    def way(self) -> str:
        """`direct` or `relay`: how streams that begin now go to the share."""
        return "relay" if self._ways.place is None else "direct"

    async def _connect(self, on_change: Callable[[Connection], None]) -> Connection:
        if self._ways.place is not None:
            try:
                async with asyncio.timeout(PROVE_WITHIN):
                    return await super()._connect(on_change)
            except FAILURES as error:
                self._ways.failed(error)
        return await super()._connect(on_change)


@contextlib.asynccontextmanager
async def guest_client(
    ways: Ways,
    guest: Guest,
    on_state: Callable[[VshareError | None], None],
    on_notice: Callable[[Notice], None],
) -> AsyncIterator[GuestClient]:
    """A session with the share that has been reached. Raises what keeps it from being reached."""
    client = GuestClient(ways, guest, on_state, on_notice)
    async with client:
        await client.ready()
        async with asyncio.TaskGroup() as group:
            task = group.create_task(ways.run(client), name="direct way")
            memory = group.create_task(keep_giving_back(), name="memory")
            with watch_network(client.suspect):
                yield client
            task.cancel()
            memory.cancel()


@contextlib.asynccontextmanager
async def scouted(
    place: Place, guest: Guest, on_lost: Callable[[VshareError], None]
) -> AsyncIterator[bool]:
    """A connection to `place`; gives whether the share is there. It carries nothing: the kernel
    asks once a second whether the neighbour still answers, and `on_lost` is told when not."""
    answered = asyncio.Event()
    dials: list[asyncio.Future[socket.socket]] = []

    async def dial_once() -> socket.socket:
        if dials:
            raise LostError("no answer any more")
        dials.append(asyncio.get_running_loop().create_future())
        sock = await dial_place(place)
        dials[0].set_result(sock)
        return sock

    def changed(error: VshareError | None) -> None:
        if answered.is_set() and error is not None:
            on_lost(error)
        answered.set()

    scout = Client(dial_once, guest.identity, guest.name, changed, min_idle=1)
    async with scout:
        scout.pool.renew()  # it dials when something is wanted
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PROVE_WITHIN):
                await answered.wait()
        there = answered.is_set() and scout.state is None
        if there:
            _watch_closely(dials[0].result())
        yield there


def _watch_closely(sock: socket.socket) -> None:
    if sock.fileno() < 0:
        return  # lost already
    for option, value in (
        (socket.TCP_KEEPIDLE, PROBE_AFTER),
        (socket.TCP_KEEPINTVL, PROBE_INTERVAL),
        (socket.TCP_USER_TIMEOUT, UNANSWERED_MS),
    ):
        sock.setsockopt(socket.IPPROTO_TCP, option, value)


async def dial_place(place: Place) -> socket.socket:
    """A connected, non-blocking socket to a neighbour. Raises LostError, OSError."""
    address, port = place
    sock = direct_socket(address.version)
    try:
        tune(sock)
        async with asyncio.timeout(DIAL_WITHIN):
            await asyncio.get_running_loop().sock_connect(sock, (str(address), port))
    except BaseException as error:
        sock.close()
        if isinstance(error, TimeoutError):
            raise LostError(f"no answer from {address} in {DIAL_WITHIN:g} s") from None
        raise
    return sock


async def _ask(session: Session) -> Paths:
    """Where the share says that it is; nothing if it does not say."""
    try:
        return msgspec.json.decode(await session.call("paths"), type=Paths)
    except (VshareError, msgspec.MsgspecError, ValueError, RecursionError) as error:
        log.debug("the share names no direct way: %s", error)
        return Paths()


def places_in(answer: Paths) -> list[Place]:
    """Where the share can be come to directly."""
    places = map(parse_place, answer.direct[:MAX_ADDRESSES])
    return [place for place in places if place is not None]


def parse_place(text: str) -> Place | None:
    """An address and a port of the share's; None for what is neither, or may not be dialled."""
    try:
        host, port = parse_host_port(text, 0)
        address = ipaddress.ip_address(host)
    except (UsageError, ValueError):
        return None
    if port < LOWEST_PORT or (isinstance(address, ipaddress.IPv6Address) and address.scope_id):
        return None
    return address, port


def networks_for(*, relay_only: bool) -> Networks:
    """Where to look for a direct way."""
    return no_networks if relay_only else lan_interfaces
