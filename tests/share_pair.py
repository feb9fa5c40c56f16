"""A share and its clients on loopback, without a relay: what many tests start from."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import cast

from tests.tls_pair import tcp_pair
from tunnel.client import Client
from tunnel.dialler import dial
from tunnel.ends import bridge
from tunnel.identity import Authority, Identity, Role, fingerprint, make_key
from tunnel.names import JoinCode, ShareName
from tunnel.socket_end import SocketEnd
from vshare.guests import Guest
from vshare.policy import Policy
from vshare.reach_direct import DirectReach
from vshare.server import Events, ShareServer

NAME = ShareName("frosty-weasel-0857")
CODE = JoinCode("abandon-ability-able")


@dataclass
class Pair:
    """A running share; `port` is where its visitors connect."""

    server: ShareServer
    authority: Authority
    port: int
    joined: list[Guest] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    async def dial(self) -> socket.socket:
        return await dial("127.0.0.1", self.port, 5)

    def identity(self, role: Role = Role.GUEST, *, listed: bool = True) -> Identity:
        """A client's identity, as joining would have made it."""
        key = make_key()
        certificate = self.authority.issue(role, role.value, key.public_key())
        if listed:
            self.server.guests.add(role, role.value, fingerprint(certificate), "test")
        return Identity(key, certificate, self.authority.certificate)

    def client(self, role: Role = Role.GUEST) -> Client:
        return Client(self.dial, self.identity(role), NAME)


@contextlib.asynccontextmanager
async def share_pair(policy: Policy | None = None) -> AsyncIterator[Pair]:
    """A share of this very machine's loopback, which tests may open."""
    loop = asyncio.get_running_loop()
    authority = Authority(NAME, datetime.datetime.now(datetime.UTC))
    joined: list[Guest] = []
    failed: list[str] = []
    events = Events(joined.append, lambda why, where: failed.append(why))
    rules = policy or Policy(names=frozenset({NAME}))
    calls = {"ping": lambda guest: {"pong": True}}
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    listener.setblocking(False)
    reach = DirectReach("127.0.0.1")
    async with ShareServer(NAME, authority, CODE, rules, reach, calls, events) as server:
        pair = Pair(server, authority, listener.getsockname()[1], joined, failed)

        async def accept() -> None:
            while True:
                sock, address = await loop.sock_accept(listener)
                server.visitor(sock, address[0])

        async with asyncio.TaskGroup() as group:
            task = group.create_task(accept())
            try:
                yield pair
            finally:
                task.cancel()
                listener.close()


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
