"""A share and its clients on loopback, without a relay: what many tests start from."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import cast

from tests.accepting import accepting
from tests.tls_pair import tcp_pair
from tunnel.client import Client
from tunnel.dialler import dial
from tunnel.ends import bridge
from tunnel.identity import Authority, Identity, Role, fingerprint, make_key
from tunnel.names import JoinCode, ShareName
from tunnel.socket_end import SocketEnd
from vshare.guests import Guests
from vshare.news import News, Newsroom
from vshare.policy import EVERYTHING, Policy, Rights
from vshare.reach_direct import DirectReach
from vshare.reception import Reception
from vshare.server import ShareServer
from vshare.ssh_sharing import SshSharing
from vshare.streams import Streams
from vshare.web.sites import Site, Sites
from vshare.web.visits import Visits

NAME = ShareName("frosty-weasel-0857")
CODE = JoinCode("abandon-ability-able")
ROUTE = "5e" * 16


@dataclass
class Pair:
    """A running share; `port` is where its visitors connect."""

    server: ShareServer
    reception: Reception
    streams: Streams
    authority: Authority
    share_identity: Identity
    port: int
    news: list[News]

    @property
    def guests(self) -> Guests:
        return self.server.guests

    @property
    def joined(self) -> list[str]:
        """The names of those who joined."""
        return [str(each.fields["guest"]) for each in self.news if each.kind == "joined"]

    @property
    def failed(self) -> list[str]:
        """Why joins failed that count as a guess."""
        return [str(each.fields["reason"]) for each in self.news if each.kind == "join-failed"]

    def told(self, kind: str) -> list[News]:
        """The news of one kind."""
        return [each for each in self.news if each.kind == kind]

    async def dial(self) -> socket.socket:
        return await dial("127.0.0.1", self.port, 5)

    def identity(
        self, role: Role = Role.GUEST, *, listed: bool = True, rights: Rights = EVERYTHING
    ) -> Identity:
        """A client's identity, as joining would have made it."""
        key = make_key()
        certificate = self.authority.issue(role, role.value, key.public_key())
        if listed:
            name = self.guests.free_name(role.value)
            self.guests.add(role, name, fingerprint(certificate), "test", rights=rights)
        return Identity(key, certificate, self.authority.certificate)

    def client(self, role: Role = Role.GUEST, *, rights: Rights = EVERYTHING) -> Client:
        return Client(self.dial, self.identity(role, rights=rights), NAME)


@contextlib.asynccontextmanager
async def share_pair(
    policy: Policy | None = None, *, approve: bool = False, ssh: SshSharing | None = None
) -> AsyncIterator[Pair]:
    """A share of this very machine's loopback, which tests may open."""
    authority = Authority(NAME, datetime.datetime.now(datetime.UTC))
    identity = authority.issue_share()
    news: list[News] = []
    newsroom = Newsroom()
    newsroom.subscribe(news.append)
    guests = Guests()
    reception = Reception(authority, guests, newsroom, route=ROUTE, approve=approve)
    reception.code = CODE
    rules = policy or Policy(names=frozenset({NAME}))
    calls = {"ping": lambda guest, policy: {"pong": True}}
    reach = DirectReach("127.0.0.1")
    sites = Sites(others={str(port): Site(str(port), port) for port in rules.http_ports})
    streams = Streams(rules, reach, calls, newsroom, ssh, Visits(sites))
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    port = listener.getsockname()[1]
    async with reach, ShareServer(NAME, identity, guests, reception, streams, newsroom) as server:
        pair = Pair(server, reception, streams, authority, identity, port, news)
        with accepting(listener, server.visitor):
            yield pair


class TcpService(asyncio.Protocol):
    """Base for little servers of a test."""

    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass


class Echo(TcpService):
    """Sends back what comes, and EOF for EOF."""

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)

    def eof_received(self) -> bool:
        self.transport.write_eof()
        return False


@contextlib.asynccontextmanager
async def tcp_service(factory: type[TcpService] = Echo) -> AsyncIterator[int]:
    """A TCP server on loopback; gives its port. What it still serves at the end is cut off."""
    served: list[TcpService] = []

    def serve() -> TcpService:
        served.append(factory())
        return served[-1]

    server = await asyncio.get_running_loop().create_server(serve, "127.0.0.1", 0)
    async with server:
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            for service in served:
                service.transport.abort()
            await asyncio.sleep(0)  # transports close their sockets in the next round


async def socket_to(client: Client, port: int) -> tuple[socket.socket, asyncio.Task[object]]:
    """A TCP socket whose other end is a stream to `port` of the share (blocking off)."""
    end = await client.open("", port)
    ours, theirs = tcp_pair()
    task = asyncio.get_running_loop().create_task(bridge(end, SocketEnd(theirs)))
    return ours, task
