"""Streams and flows through a real client, TLS and a share's server, over loopback."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import hashlib
import socket
import struct
from collections.abc import AsyncIterator

import pytest

from tests.loops import Factory, both_loops, run
from tests.share_pair import Pair, TcpService, share_pair, socket_to, tcp_service
from tunnel.client import Client
from tunnel.codes import Code
from tunnel.errors import RefusedError
from tunnel.pool import MAX_CONNECTIONS
from tunnel.send_queue import SendQueue
from tunnel.socket_end import CIPHERTEXT_SIZE

RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER of zero: close() sends RST


async def receive_all(sock: socket.socket) -> bytes:
    loop = asyncio.get_running_loop()
    data = bytearray()
    while piece := await loop.sock_recv(sock, 1 << 20):
        data += piece
    return bytes(data)


@contextlib.asynccontextmanager
async def tcp_peer() -> AsyncIterator[tuple[int, asyncio.Future[socket.socket]]]:
    """A port that takes one connection; the socket is the test's to use, and closed after."""
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)

        async def accept() -> socket.socket:
            sock, _ = await loop.sock_accept(listener)
            return sock

        task = loop.create_task(accept())
        try:
            yield listener.getsockname()[1], task
        finally:
            (await task).close()


@both_loops
def test_echo_and_half_close(factory: Factory) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with share_pair() as pair, tcp_service() as port, pair.client() as client:
            sock, task = await socket_to(client, port)
            with sock:
                await loop.sock_sendall(sock, b"hello")
                assert await loop.sock_recv(sock, 100) == b"hello"
                sock.shutdown(socket.SHUT_WR)
                assert await loop.sock_recv(sock, 100) == b""
                assert await task is None

    run(main, factory)


@both_loops
def test_the_machine_ends_first_and_goes_on_reading(factory: Factory) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with share_pair() as pair, tcp_peer() as (port, peer), pair.client() as client:
            sock, task = await socket_to(client, port)
            with sock:
                machine = await peer
                await loop.sock_sendall(machine, b"banner")
                machine.shutdown(socket.SHUT_WR)
                assert await receive_all(sock) == b"banner"
                await loop.sock_sendall(sock, b"still listening?")
                sock.shutdown(socket.SHUT_WR)
                assert await receive_all(machine) == b"still listening?"
                assert await task is None

    run(main, factory)


@pytest.mark.programs
@both_loops
def test_64_mb_each_way_at_once(factory: Factory) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        block = hashlib.shake_256(b"block").digest(1 << 20)
        async with share_pair() as pair, tcp_service() as port, pair.client() as client:
            sock, task = await socket_to(client, port)
            sent, got = hashlib.sha256(), hashlib.sha256()

            async def send() -> None:
                for number in range(64):
                    piece = number.to_bytes(4, "big") + block[4:]
                    sent.update(piece)
                    await loop.sock_sendall(sock, piece)
                sock.shutdown(socket.SHUT_WR)

            with sock:
                async with asyncio.TaskGroup() as group:
                    group.create_task(send())
                    while piece := await loop.sock_recv(sock, 1 << 20):
                        got.update(piece)
                assert got.digest() == sent.digest()
                assert await task is None

    run(main, factory)


def test_single_bytes() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with share_pair() as pair, tcp_service() as port, pair.client() as client:
            sock, task = await socket_to(client, port)
            with sock:
                for number in range(500):
                    await loop.sock_sendall(sock, bytes([number % 256]))
                sock.shutdown(socket.SHUT_WR)
                assert await receive_all(sock) == bytes(number % 256 for number in range(500))
                assert await task is None

    run(main)


@both_loops
def test_rst_of_the_client_arrives_as_rst(factory: Factory) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with share_pair() as pair, tcp_peer() as (port, peer), pair.client() as client:
            sock, task = await socket_to(client, port)
            machine = await peer
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            sock.close()
            with pytest.raises(ConnectionResetError):
                await loop.sock_recv(machine, 1)
            assert await task is Code.CONNECTION_RESET

    run(main, factory)


@both_loops
def test_rst_of_the_machine_arrives_as_rst(factory: Factory) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with share_pair() as pair, tcp_peer() as (port, peer), pair.client() as client:
            sock, task = await socket_to(client, port)
            with sock:
                machine = await peer
                machine.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
                machine.close()
                with pytest.raises(ConnectionResetError):
                    await loop.sock_recv(sock, 1)
                assert await task is Code.CONNECTION_RESET

    run(main, factory)


def test_a_closed_port_is_refused_with_the_machines_reason() -> None:
    async def main() -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            port = unused.getsockname()[1]
            async with share_pair() as pair, pair.client() as client:
                for _ in range(3):
                    with pytest.raises(RefusedError, match="connection refused") as caught:
                        await client.open("", port)
                    assert caught.value.code is Code.CONNECTION_REFUSED
                assert len(client.pool.connections) <= 3

    run(main)


@both_loops
def test_streams_one_after_another_use_the_same_connections(factory: Factory) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with share_pair() as pair, tcp_service() as port, counted(pair) as (client, dials):
            for number in range(100):
                sock, task = await socket_to(client, port)
                with sock:
                    text = b"stream %d" % number
                    await loop.sock_sendall(sock, text)
                    sock.shutdown(socket.SHUT_WR)
                    assert await receive_all(sock) == text
                    assert await task is None
            assert len(dials) <= 4
            assert_pool_is_sound(client)

    run(main, factory)


@pytest.mark.programs
def test_a_burst_of_200() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with share_pair() as pair, tcp_service() as port, counted(pair) as (client, dials):

            async def one(number: int) -> None:
                sock, task = await socket_to(client, port)
                with sock:
                    await loop.sock_sendall(sock, b"%d" % number)
                    sock.shutdown(socket.SHUT_WR)
                    assert await receive_all(sock) == b"%d" % number
                    assert await task is None

            async with asyncio.TaskGroup() as group:
                for number in range(200):
                    group.create_task(one(number))
            assert len(dials) <= MAX_CONNECTIONS
            assert_pool_is_sound(client)

    run(main)


@contextlib.asynccontextmanager
async def counted(pair: Pair) -> AsyncIterator[tuple[Client, list[None]]]:
    """A client, and a list that grows with each of its dials."""
    dials: list[None] = []
    plain = pair.dial

    async def dial() -> socket.socket:
        dials.append(None)
        return await plain()

    pair.dial = dial  # type: ignore[method-assign]  # for `client` to take
    async with pair.client() as client:
        yield client, dials


def assert_pool_is_sound(client: Client) -> None:
    """No connection is in the pool twice, or while it carries a stream."""
    idle = [connection for connection, _ in client.pool.idle]
    assert len(idle) == len(set(idle))
    assert all(connection.is_usable for connection in idle)
    assert not client.pool.waiters


MAX_RECORD = 5 + 16_384 + 256  # bytes of TLS (RFC 8446 5.2)


def kept_by_queues() -> list[int]:
    """Bytes that each socket's sender holds, of TLS connections and of plain ends."""
    return [len(each.pending) for each in gc.get_objects() if isinstance(each, SendQueue)]


class Flood(TcpService):
    """Sends 32 MB as fast as it is taken, and counts what was."""

    written = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        Flood.written = 0
        self.resume_writing()

    def resume_writing(self) -> None:
        self.paused = False
        while Flood.written < 32 << 20 and not self.paused:
            Flood.written += 1 << 16
            self.transport.write(bytes(1 << 16))

    def pause_writing(self) -> None:
        self.paused = True


@both_loops
def test_a_reader_that_stops_bounds_what_is_kept(factory: Factory) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with (
            share_pair() as pair,
            tcp_service(Flood) as port,
            tcp_service() as echo,
            pair.client() as client,
        ):
            sock, task = await socket_to(client, port)
            with sock:
                before = -1
                # Until nothing moves any more; a machine that is busy may only look so.
                while before != Flood.written or not any(kept_by_queues()):
                    before = Flood.written
                    await asyncio.sleep(0.1)
                connections = [*client.pool.connections, *pair.server._connections]
                for connection in connections:
                    assert connection._tls._incoming.pending < MAX_RECORD
                assert max(kept_by_queues()) <= CIPHERTEXT_SIZE + MAX_RECORD  # one read, one record
                # Other streams are not held up.
                other, _ = await socket_to(client, echo)
                with other:
                    await loop.sock_sendall(other, b"hello")
                    assert await loop.sock_recv(other, 100) == b"hello"
                # All of it arrives once it is read.
                got = 0
                while got < Flood.written or Flood.written < 32 << 20:
                    got += len(await loop.sock_recv(sock, 1 << 20))
                assert got == 32 << 20
        await task

    run(main, factory)


def test_everything_ends_when_the_client_does() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with share_pair() as pair, tcp_peer() as (port, peer):
            async with pair.client() as client:
                sock, task = await socket_to(client, port)
                machine = await peer
            with sock, pytest.raises(ConnectionResetError):
                await loop.sock_recv(sock, 1)
            with pytest.raises(ConnectionResetError):
                await loop.sock_recv(machine, 1)
            assert await task is Code.CLOSED

    run(main)


class Receiver:
    """A flow's user."""

    def __init__(self) -> None:
        self.got: asyncio.Queue[bytes | Code | None] = asyncio.Queue()

    def datagram_received(self, data: bytes) -> None:
        self.got.put_nowait(data)

    def flow_refused(self, code: Code) -> None:
        self.got.put_nowait(code)

    def flow_closed(self) -> None:
        self.got.put_nowait(None)


@contextlib.asynccontextmanager
async def udp_echo() -> AsyncIterator[int]:
    loop = asyncio.get_running_loop()
    with socket.socket(type=socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
        sock.bind(("127.0.0.1", 0))
        loop.add_reader(sock, lambda: sock.sendto(*sock.recvfrom(65_536)))
        try:
            yield sock.getsockname()[1]
        finally:
            loop.remove_reader(sock)


@both_loops
@pytest.mark.parametrize("size", [0, 1, 1400, 65_507])
def test_udp_echo(factory: Factory, size: int) -> None:
    async def main() -> None:
        async with share_pair() as pair, udp_echo() as port, pair.client() as client:
            receiver = Receiver()
            flow = await client.open_flow("", port, receiver)
            flow.send(bytes(size))  # at once, before the share has opened the way
            assert await receiver.got.get() == bytes(size)
            flow.close()
            flow.close()

    run(main, factory)


def test_udp_refused_by_the_machine_and_by_the_policy() -> None:
    async def main() -> None:
        with socket.socket(type=socket.SOCK_DGRAM) as unused:
            unused.bind(("127.0.0.1", 0))
            port = unused.getsockname()[1]
        async with share_pair() as pair, pair.client() as client:
            receiver = Receiver()
            flow = await client.open_flow("", port, receiver)
            flow.send(b"anybody?")
            assert await receiver.got.get() is Code.CONNECTION_REFUSED
            flow.send(b"too late")
            await client.open_flow("other.example", port, receiver)
            assert await receiver.got.get() is Code.NOT_ALLOWED

    run(main)


def test_many_first_flows_share_one_lane_and_outlive_it() -> None:
    async def main() -> None:
        async with share_pair() as pair, udp_echo() as port, counted(pair) as (client, dials):
            receivers = [Receiver() for _ in range(50)]
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(client.open_flow("", port, receiver))
                    for receiver in receivers
                ]
            for number, task in enumerate(tasks):
                task.result().send(b"%d" % number)
            for number, receiver in enumerate(receivers):
                assert await receiver.got.get() == b"%d" % number
            assert len(dials) <= 4
            assert client.flows._connection is not None
            client.flows._connection.abort("pulled")
            for number, task in enumerate(tasks):
                task.result().send(b"again %d" % number)
            for number, receiver in enumerate(receivers):
                assert await receiver.got.get() == b"again %d" % number
            assert client.flows.lanes == 2
            assert client.flows.count.dropped == 0

    run(main)
