"""A share on loopback for the tests of the SOCKS server, and clients that talk to it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from typing import TypeVar, cast

import pytest
import uvloop

from connect_vm.own_names import OwnNames
from connect_vm.socks_server import SocksServer
from tunnel.codes import Code
from tunnel.dialler import dial
from tunnel.ends import End
from tunnel.errors import LostError, RefusedError
from tunnel.flows import Flow, FlowReceiver
from tunnel.socket_end import SocketEnd

T = TypeVar("T")
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
NAME = "frosty-weasel-0857"


class LoopbackFlow(asyncio.DatagramProtocol):
    """A flow to a port of this machine's."""

    def __init__(self, receiver: FlowReceiver, opener: LoopbackOpener) -> None:
        self.receiver = receiver
        self.opener = opener

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)
        self.opener.flows.add(self)

    def datagram_received(self, data: bytes, address: object) -> None:
        self.receiver.datagram_received(data)

    def error_received(self, error: Exception) -> None:
        self.receiver.flow_refused(Code.CONNECTION_REFUSED)
        self.close()

    def send(self, data: bytes) -> None:
        self.transport.sendto(data)

    def close(self) -> None:
        self.transport.close()
        self.opener.flows.discard(self)


class LoopbackOpener:
    """A share in the same process: the shared machine is this one, seen at 127.0.0.1."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []
        self.flows: set[LoopbackFlow] = set()
        self.flows_opened = 0

    async def open(self, host: str, port: int) -> End:
        self.asked.append((host, port))
        if host == "gone.example":
            raise LostError("the relay is gone")
        if host:
            raise RefusedError(Code.NOT_ALLOWED, f"{host} is not shared")
        return SocketEnd(await dial("127.0.0.1", port, 5.0))

    async def open_flow(self, host: str, port: int, receiver: FlowReceiver) -> Flow:
        self.asked.append((host, port))
        self.flows_opened += 1
        if host:
            raise LostError("the relay is gone")
        loop = asyncio.get_running_loop()
        _, flow = await loop.create_datagram_endpoint(
            lambda: LoopbackFlow(receiver, self), remote_addr=("127.0.0.1", port)
        )
        return flow


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Iterator[Callable[[Coroutine[object, object, T]], T]]:
    """Run a coroutine on each kind of loop, and see that it leaves no file descriptor behind."""

    async def guarded(work: Coroutine[object, object, T]) -> T:
        before = open_files()
        result = await work
        await eventually(lambda: open_files() <= before)
        return result

    with asyncio.Runner(loop_factory=request.param) as runner:
        runner.run(asyncio.sleep(0))
        yield lambda work: runner.run(asyncio.wait_for(guarded(work), 10))


async def eventually(condition: Callable[[], bool]) -> None:
    """Wait for what no event tells: transports close in a later turn of the loop."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - there is no event
            await asyncio.sleep(0.01)


def open_files() -> int:
    """How many sockets of IP this process has: a loop opens files of other kinds when it likes."""
    count = 0
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/self/fd/{fd}").startswith("socket:"):
                with socket.socket(fileno=os.dup(int(fd))) as sock:
                    count += sock.family in (socket.AF_INET, socket.AF_INET6)
    return count


@contextlib.asynccontextmanager
async def service(handler: Handler) -> AsyncIterator[int]:
    """A TCP service on loopback; yields its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(OSError):
                await handler(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=512)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


async def reverse_at_eof(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers after the end of what it is sent: needs half-close."""
    writer.write((await reader.read(-1))[::-1])
    writer.write_eof()
    await writer.drain()


async def http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nhello\n")
    await writer.drain()


class UdpEcho(asyncio.DatagramProtocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        self.transport.sendto(data, address)


@contextlib.asynccontextmanager
async def udp_echo() -> AsyncIterator[int]:
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(UdpEcho, local_addr=("127.0.0.1", 0))
    try:
        yield transport.get_extra_info("sockname")[1]
    finally:
        transport.close()


@contextlib.asynccontextmanager
async def serving() -> AsyncIterator[tuple[SocksServer, LoopbackOpener]]:
    opener = LoopbackOpener()
    async with SocksServer(opener, own_names=OwnNames(NAME, "web01")) as server:
        server.add_name("127.0.0.1")
        server.add_name("::1")
        yield server, opener


@contextlib.asynccontextmanager
async def client(
    server: SocksServer,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(*server.address)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def connect_request(host: bytes, port: int) -> bytes:
    return b"\x05\x01\x00\x05\x01\x00\x03" + bytes((len(host),)) + host + struct.pack(">H", port)


async def curl(*arguments: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        "curl", "-sS", "--max-time", "10", "--noproxy", "", *arguments, stdout=-1, stderr=-2
    )
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode()


def in_thread(work: Callable[[], T]) -> Awaitable[T]:
    """Run a blocking client in a thread that ends with its work."""
    future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
    loop = asyncio.get_running_loop()

    def target() -> None:
        try:
            result = work()
        except BaseException as error:
            loop.call_soon_threadsafe(future.set_exception, error)
        else:
            loop.call_soon_threadsafe(future.set_result, result)

    threading.Thread(target=target, daemon=True).start()
    return future


Run = Callable[[Coroutine[object, object, None]], None]
