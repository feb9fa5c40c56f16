from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import pytest

from tests.loops import run, until
from tests.share_pair import NAME, Pair, share_pair, socket_to, tcp_service
from tunnel.alerts import AccessLostError
from tunnel.client import Client
from tunnel.codes import Code
from tunnel.ends import Sink
from tunnel.errors import LocalProtocolError, LostError, RefusedError, VshareError
from tunnel.resumable_end import ResumableEnd


class Way:
    """A dial that can be cut, slowed and counted."""

    def __init__(self, pair: Pair) -> None:
        self._pair = pair
        self.fault: Exception | None = None
        self.dials = 0
        self.open = asyncio.Event()
        self.open.set()
        self.states: list[str | None] = []
        self.news = asyncio.Event()

    async def dial(self) -> socket.socket:
        self.dials += 1
        await self.open.wait()
        if self.fault is not None:
            raise self.fault
        return await self._pair.dial()

    def on_state(self, error: VshareError | None) -> None:
        self.states.append(None if error is None else error.text)
        self.news.set()

    async def until(self, state: str | None) -> None:
        while not self.states or self.states[-1] != state:
            self.news.clear()
            await self.news.wait()

    def client(self) -> Client:
        return Client(self.dial, self._pair.identity(), NAME, self.on_state)


@contextlib.asynccontextmanager
async def way_to_share() -> AsyncIterator[tuple[Pair, Way]]:
    async with share_pair() as pair:
        yield pair, Way(pair)


class Told:
    """A flow's user."""

    closed = False

    def datagram_received(self, data: bytes) -> None: ...

    def flow_refused(self, code: Code) -> None: ...

    def flow_closed(self) -> None:
        self.closed = True


def assert_sound(client: Client) -> None:
    idle = [connection for connection, _ in client.pool.idle]
    assert len(idle) == len(set(idle))
    assert all(connection.is_usable for connection in idle)
    assert not client.pool.waiters


def test_ready_and_the_pool_is_filled_once() -> None:
    async def main() -> None:
        async with way_to_share() as (_, way), way.client() as client:
            hello = await client.ready()
            assert (hello.share, hello.role) == (NAME, "guest")
            await until(
                lambda: len(client.pool.idle) >= 3
            )  # the one that was waited for, and two to spare
            await asyncio.sleep(0.05)
            assert way.dials == 3  # nothing spins
            assert way.states == [None]
            assert_sound(client)

    run(main)


def test_never_reached_is_told_at_once() -> None:
    async def main() -> None:
        async with way_to_share() as (_, way):
            way.fault = RefusedError(Code.CONNECTION_REFUSED, "cannot connect to relay")
            async with way.client() as client:
                with pytest.raises(RefusedError, match="cannot connect to relay"):
                    await client.ready()
                with pytest.raises(RefusedError, match="cannot connect to relay"):
                    await client.open("", 80)

    run(main)


def test_gone_and_come_back() -> None:
    async def main() -> None:
        async with way_to_share() as (_, way), tcp_service() as port, way.client() as client:
            await client.ready()
            await until(lambda: len(client.pool.idle) >= 3)  # no dial is under way
            way.fault = LostError("no way")
            for connection in list(client.pool.connections):
                connection.abort("pulled")
            await way.until("no way")
            task = asyncio.create_task(client.open("", port))  # waits it out
            before = way.dials
            await asyncio.sleep(0.3)
            assert way.dials - before < 8  # no storm
            assert not task.done()
            way.fault = None
            end = await task
            end.reset(Code.CLOSED)
            assert way.states == [None, "no way", None]
            assert_sound(client)

    run(main)


def test_a_guest_who_was_removed_is_told_so() -> None:
    async def main() -> None:
        async with share_pair() as pair:
            way = Way(pair)
            identity = pair.identity(listed=False)
            async with Client(way.dial, identity, NAME) as client:
                with pytest.raises(VshareError) as caught:
                    await client.ready()
                assert isinstance(caught.value, LostError | AccessLostError)

    run(main)


@pytest.mark.parametrize("pauses", range(0, 40, 3))
def test_opens_that_are_cancelled_anywhere_leave_the_pool_sound(pauses: int) -> None:
    async def main() -> None:
        async with way_to_share() as (_, way), tcp_service() as port, way.client() as client:
            await client.ready()
            for _ in range(5):
                tasks = [asyncio.create_task(client.open("", port)) for _ in range(6)]
                for _ in range(pauses):
                    await asyncio.sleep(0)
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks)
                for task in tasks:
                    if not task.cancelled():
                        task.result().reset(Code.CLOSED)
                assert not client.pool.waiters
            sock, bridged = await socket_to(client, port)
            with sock:
                await asyncio.get_running_loop().sock_sendall(sock, b"x")
                assert await asyncio.get_running_loop().sock_recv(sock, 1) == b"x"
            await bridged
            # Every connection is idle again, none is lost from sight.
            await until(lambda: len(client.pool.idle) >= len(client.pool.connections))
            assert_sound(client)

    run(main)


def test_a_waiter_that_runs_out_of_time_gives_back_what_it_was_given() -> None:
    async def main() -> None:
        async with way_to_share() as (_, way), way.client() as client:
            await client.ready()
            await until(lambda: len(client.pool.idle) >= 3)
            way.open.clear()  # no new ones
            taken = [await client.pool.acquire() for _ in range(3)]
            waiting = asyncio.create_task(client.pool.acquire())
            await asyncio.sleep(0)
            client.pool.release(taken[0])  # given, and cancelled before it runs
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            assert [connection for connection, _ in client.pool.idle] == [taken[0]]
            way.open.set()

    run(main)


def test_out_of_time_without_a_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with way_to_share() as (_, way), way.client() as client:
            await client.ready()
            await until(lambda: len(client.pool.idle) >= 3)  # no dial is under way
            await until(lambda: not client.pool._dials and not client.pool.missing())
            way.open.clear()
            for connection in list(client.pool.connections):
                connection.abort("pulled")
            monkeypatch.setattr("tunnel.pool.WAIT", 0.05)
            with pytest.raises(LostError, match="no connection to the share became free"):
                await client.open("", 80)
            assert not client.pool.waiters
            way.open.set()

    run(main)


def test_a_connection_lost_between_being_given_and_used() -> None:
    async def main() -> None:
        async with way_to_share() as (_, way), tcp_service() as port, way.client() as client:
            await client.ready()
            await until(lambda: len(client.pool.idle) >= 3)
            taken = [await client.pool.acquire() for _ in range(3)]
            opening = asyncio.create_task(client.open("", port))
            await asyncio.sleep(0)
            client.pool.release(taken[0])
            taken[0].abort("pulled")  # before the waiter runs
            end = await opening
            assert isinstance(end, ResumableEnd)
            assert end.attachment.connection is not taken[0]
            end.reset(Code.CLOSED)

    run(main)


def test_closed_while_dialling_and_while_waited_for() -> None:
    async def main() -> None:
        async with way_to_share() as (_, way):
            way.open.clear()
            client = way.client()
            async with client:
                task = asyncio.create_task(client.open("", 80))
                told = Told()
                flow = await client.open_flow("", 53, told)
                flow.send(b"waits for a way")
                await until(lambda: way.dials >= 2)
            with pytest.raises(LostError, match="has ended"):
                await task
            assert told.closed
            with pytest.raises(LostError, match="has ended"):
                await client.open_flow("", 53, told)
            with pytest.raises(LostError, match="has ended"):
                await client.open("", 80)
            assert way.states == []

    run(main)


def test_an_answer_to_a_call() -> None:
    async def main() -> None:
        async with way_to_share() as (_, way), way.client() as client:
            assert await client.call("ping") == b'{"pong":true}'
            with pytest.raises(RefusedError, match="no call named 'nonsense'"):
                await client.call("nonsense")
            await until(lambda: len(client.pool.idle) >= len(client.pool.connections))
            assert_sound(client)

    run(main)


class Received(Sink):
    """What comes on a stream, and how it ends."""

    def __init__(self) -> None:
        super().__init__(100)
        self.code: Code | None = None

    def reset(self, code: Code) -> None:
        self.code = code


def test_a_stream_that_is_opened_without_waiting_begins_with_what_it_was_given() -> None:
    async def main() -> None:
        async with way_to_share() as (_, way), tcp_service() as port, way.client() as client:
            assert client.maybe_open("tcp", "", port, b"hello") is None  # nothing is idle yet
            await client.ready()
            end, received = client.maybe_open("tcp", "", port, b"hello"), Received()
            assert end is not None
            end.link(received)
            assert end.bytes_sent == len(b"hello")
            await until(lambda: received.data == b"hello")
            end.send(b", world")
            end.send_eof()
            await asyncio.shield(end.finished)
            assert (bytes(received.data), end.reason) == (b"hello, world", None)
            await until(lambda: len(client.pool.idle) >= 3)
            assert_sound(client)

    run(main)


@pytest.mark.parametrize("how", ["refused", "lost"])
def test_a_stream_that_was_opened_without_waiting_is_told_its_end(how: str) -> None:
    async def main() -> None:
        async with way_to_share() as (_, way), way.client() as client:
            await client.ready()
            end, received = client.maybe_open("no such", "", 0, b"hello"), Received()
            assert end is not None
            end.link(received)
            if how == "lost":
                end.connection.abort("pulled")
            await until(lambda: received.code is not None)
            assert received.code is (Code.LOST if how == "lost" else Code.UNSUPPORTED)
            await asyncio.shield(end.finished)
            await until(lambda: len(client.pool.idle) >= 2)
            assert_sound(client)

    run(main)


def test_retired_connections_are_replaced() -> None:
    async def main() -> None:
        async with way_to_share() as (pair, way), tcp_service() as port, way.client() as client:
            await client.ready()
            for _ in range(3):
                for connection in list(pair.server._connections):
                    connection.retire()  # the next OPEN may cross it
                end = await client.open("", port)
                end.reset(Code.CLOSED)
            assert_sound(client)

    run(main)


def test_idle_connections_above_the_minimum_are_retired() -> None:
    async def main() -> None:
        async with way_to_share() as (_, way), tcp_service() as port, way.client() as client:
            async with asyncio.TaskGroup() as group:
                opens = [group.create_task(client.open("", port)) for _ in range(10)]
            for task in opens:
                task.result().reset(Code.CLOSED)
            await until(lambda: len(client.pool.idle) >= len(client.pool.connections))
            client.pool.shrink(asyncio.get_running_loop().time() + 31)
            assert len(client.pool.idle) == len(client.pool.connections) == 2
            assert_sound(client)

    run(main)


def test_a_second_open_on_a_busy_connection_is_our_own_fault() -> None:
    async def main() -> None:
        async with way_to_share() as (_, way), tcp_service() as port, way.client() as client:
            end = await client.open("", port)
            from tunnel.frames import Open

            assert isinstance(end, ResumableEnd)

            with pytest.raises(LocalProtocolError):
                end.attachment.connection.open(Open(bytes(16), "tcp", "", port))
            end.reset(Code.CLOSED)

    run(main)
