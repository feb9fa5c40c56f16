"""The pool while the way is down in silence; tests/tunnel/test_client.py has the rest."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
from collections.abc import AsyncIterator
from typing import cast

import pytest

from tests.loops import run, until
from tests.share_pair import NAME, Pair, share_pair, tcp_service
from tunnel import answer, liveness, pool
from tunnel import client as client_module
from tunnel.alerts import ShareNotFoundError
from tunnel.client import Client
from tunnel.connection import Connection
from tunnel.errors import LostError
from tunnel.frames import Hello
from tunnel.resumable_end import ResumableEnd


class Cable:
    """A way to a share that can be black: bytes vanish, dials hang, nobody is told."""

    def __init__(self, pair: Pair) -> None:
        self._pair = pair
        self.black = asyncio.Event()
        self.dials = 0
        self._through: list[asyncio.Event] = []

    async def dial(self) -> socket.socket:
        self.dials += 1
        if self.black.is_set():
            await asyncio.get_running_loop().create_future()  # a SYN that nobody answers
        return await self._pair.dial()


class FakeTask:
    """Remembers that it was cancelled."""

    def __init__(self) -> None:
        self._cancelled = False

    def cancel(self) -> None:
        self._cancelled = True

    def cancelled(self) -> bool:
        return self._cancelled


def silence(client: Client) -> list[Connection]:
    """What the connections send is lost from now on, and so is what comes."""
    connections = list(client.pool.connections)
    for connection in connections:
        tls = connection._tls
        tls.write = lambda *_: None  # type: ignore[method-assign]
        tls.pause_reading()
        tls._reading = True  # it waits, and nothing comes
    return connections


@contextlib.asynccontextmanager
async def cable() -> AsyncIterator[tuple[Pair, Cable, Client]]:
    async with share_pair() as pair:
        made = Cable(pair)
        async with Client(made.dial, pair.identity(), NAME) as client:
            await client.ready()
            await until(lambda: len(client.pool.idle) >= 2 and not client.pool._dials)
            yield pair, made, client


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "TICK", 0.02)
    monkeypatch.setattr(pool, "STALLED_AFTER", 0.02)
    monkeypatch.setattr(pool, "DIAL_EVERY", 0.02)
    monkeypatch.setattr(liveness, "PATIENCE_AFTER_CHANGE", 0.02)
    monkeypatch.setattr(client_module, "PROBE_AFTER", 0.02)


@pytest.mark.usefixtures("fast")
def test_attempts_that_hang_do_not_keep_the_next_from_coming_through() -> None:
    async def main() -> None:
        async with tcp_service() as port, cable() as (_, way, client):
            way.black.set()
            before = way.dials
            for connection in silence(client):
                connection.abort("cut")
            await until(lambda: way.dials >= before + 3)
            way.black.clear()  # those that hang go on hanging
            end = await client.open("", port)
            assert isinstance(end, ResumableEnd)
            await until(lambda: not client.pool._dials)  # they are given up

    run(main)


def test_when_one_comes_through_nobody_else_waits_out_the_pause(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("RETRY_FIRST", "RETRY_MOST"):
        monkeypatch.setattr(pool, name, 1000.0)

    async def main() -> None:
        async with tcp_service() as port, cable() as (_, way, client):
            slow = asyncio.Event()

            async def refused_then_slow() -> socket.socket:
                way.dials += 1
                if way.dials == before + 1:
                    raise ConnectionRefusedError
                if way.dials == before + 2:
                    await slow.wait()
                return await way._pair.dial()

            client._dial = refused_then_slow
            before = way.dials
            for connection in list(client.pool.connections):
                connection.abort("cut")
            await until(lambda: client.state is not None and way.dials == before + 2)
            async with asyncio.TaskGroup() as group:
                opening = [group.create_task(client.open("", port)) for _ in range(3)]
                await until(lambda: len(client.pool.waiters) == 3)
                slow.set()
                for each in opening:
                    await each

    run(main)


@pytest.mark.usefixtures("fast")
def test_attempts_are_bounded() -> None:
    async def main() -> None:
        async with cable() as (_, way, client):
            way.black.set()
            before = way.dials
            for connection in silence(client):
                connection.abort("cut")
            most = pool.MAX_DIALLING + pool.MAX_STALLED
            await until(lambda: way.dials - before == most)
            await asyncio.sleep(0.1)  # time for more, which must not come
            assert way.dials - before == most

    run(main)


@pytest.mark.usefixtures("fast")
def test_a_stream_opened_on_a_connection_that_died_in_silence() -> None:
    """Nobody waits for the timeout of a dead connection: a PING finds it out."""

    async def main() -> None:
        async with tcp_service() as port, cable() as (_, _, client):
            dead = silence(client)
            for connection in dead:
                connection.patience = 0.02
            async with asyncio.timeout(1.5):
                end = await client.open("", port)
            assert isinstance(end, ResumableEnd)
            assert end.attachment.connection not in dead
            assert any(connection.is_lost for connection in dead)

    run(main)


@pytest.mark.usefixtures("fast")
def test_a_connection_that_was_quiet_for_long_is_asked_together_with_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(answer, "QUIET", 0.0)

    async def main() -> None:
        async with tcp_service() as port, cable() as (_, _, client):
            dead = silence(client)
            pings: list[Connection] = []
            monkeypatch.setattr(Connection, "ping", lambda connection: pings.append(connection))
            for connection in dead:
                connection.patience = 0.02
            await asyncio.sleep(0.002)  # the loop's clock has milliseconds
            assert isinstance(await client.open("", port), ResumableEnd)
            assert set(pings) & set(dead)
            assert len(pings) == len(set(pings))  # once, and not again before it is given up

    run(main)


@pytest.mark.usefixtures("fast")
def test_a_change_of_network_moves_open_streams() -> None:
    async def main() -> None:
        async with tcp_service() as port, cable() as (_, _, client):
            end = await client.open("", port)
            assert isinstance(end, ResumableEnd)
            before = end.attachment.connection
            silence(client)
            client.suspect()
            await until(lambda: end.attachment.connection is not before)
            assert before.is_lost

    run(main)


@pytest.mark.usefixtures("fast")
def test_renewed_connections_are_replaced_when_they_are_idle() -> None:
    async def main() -> None:
        async with tcp_service() as port, cable() as (_, _, client):
            end = await client.open("", port)
            assert isinstance(end, ResumableEnd)
            busy = end.attachment.connection
            old = set(client.pool.connections)
            client.renew()
            await until(lambda: old & set(client.pool.connections) == {busy})
            await until(lambda: len(client.pool.idle) >= 2)
            assert not busy.is_lost
            from tunnel.codes import Code

            end.reset(Code.CLOSED)
            await until(lambda: busy not in client.pool.connections)

    run(main)


@pytest.mark.usefixtures("fast")
def test_a_host_that_was_suspended_asks_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop's clock does not tell: it stood still."""

    async def main() -> None:
        async with cable() as (_, _, client):
            asked: list[Connection] = []
            for connection in client.pool.connections:
                monkeypatch.setattr(connection, "ping", functools.partial(asked.append, connection))
            for _ in range(20):  # awake: looks, and no question
                await asyncio.sleep(0.005)
            assert not asked
            slept = pool.time_asleep()
            monkeypatch.setattr(pool, "time_asleep", lambda: slept)
            await asyncio.sleep(0.05)
            monkeypatch.setattr(pool, "time_asleep", lambda: slept + 3600)
            await until(lambda: asked)

    run(main)


def test_pauses_grow_where_the_relay_says_that_the_share_is_away() -> None:
    async def main() -> None:
        async with cable() as (_, _, client):
            made = client.pool
            for error, seconds, most in (
                (LostError("refused"), 1000.0, pool.RETRY_MOST),
                (ShareNotFoundError("away"), 0.0, pool.RETRY_MOST),
                (ShareNotFoundError("away"), pool.COMES_BACK + 1, pool.RETRY_LATER),
            ):
                made.state = error
                made._down_since = asyncio.get_running_loop().time() - seconds
                assert made._longest_pause() == most
            made.state = None

    run(main)


@pytest.mark.parametrize("lives_for", [0.0, 0.005], ids=["at once", "soon"])
def test_a_share_that_hangs_up_behind_hello_is_dialled_with_pauses(
    monkeypatch: pytest.MonkeyPatch, lives_for: float
) -> None:
    hello = Connection.send_hello

    def hello_and_goodbye(connection: Connection, message: Hello) -> None:
        hello(connection, message)
        if lives_for:
            asyncio.get_running_loop().call_later(lives_for, connection.close)
        else:
            connection.close()

    monkeypatch.setattr(Connection, "send_hello", hello_and_goodbye)

    async def main() -> None:
        async with share_pair() as pair:
            way, loop = Cable(pair), asyncio.get_running_loop()
            began = loop.time()
            async with Client(way.dial, pair.identity(), NAME) as client:
                with contextlib.suppress(LostError):
                    await client.ready()
                await asyncio.sleep(0.1)  # time for more, which must not come
                pauses = (loop.time() - began) / pool.RETRY_FIRST  # many on a slow machine
                assert way.dials <= (4 + pauses) * pool.MIN_IDLE
                await until(lambda: not client.pool.connections)  # another may live just now

    run(main)


def test_a_share_that_hangs_up_at_once_is_a_failure() -> None:
    """The first time its way may have ended just then: there is a pause, and nobody is told."""

    async def main() -> None:
        async with cable() as (_, _, client):
            made, began = client.pool, asyncio.get_running_loop().time()
            connection = made.idle[0][0]
            connection.abort("cut")

            async def connect(on_change: object) -> Connection:
                return connection

            made._connect = connect
            await made._dial_one(began + 1)
            assert made.state is None
            assert made._died_young
            await made._dial_one(began + 1)
            assert made.state is not None

    run(main)


def test_while_some_come_through_the_others_are_slow_and_not_stuck() -> None:
    """As many as are missed are dialled, and none is given up for what it has done so far."""

    async def main() -> None:
        async with cable() as (_, _, client):
            made, now = client.pool, asyncio.get_running_loop().time()
            slow = [cast(asyncio.Task[None], FakeTask()) for _ in range(4)]
            made._dials = dict.fromkeys(slow, now - 2)
            made.waiters.extend(asyncio.get_running_loop().create_future() for _ in range(6))
            made._came_through = (now - 2, now - 2)
            assert made.missing() == 1  # nothing came for long: is there a way at all?
            made._came_through = (now, now - 1.5)
            assert made.missing() == 2
            made._give_up_stalled()
            assert not any(each.cancelled() for each in slow)
            made._came_through = (now, now - 0.5)  # begun so much later, and there
            made._give_up_stalled()
            assert all(each.cancelled() for each in slow)
            made._dials.clear()
            made.waiters.clear()

    run(main)
