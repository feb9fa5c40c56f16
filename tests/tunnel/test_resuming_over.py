"""Resuming what has ended meanwhile, on either side: nothing is left behind, nor held up."""

from __future__ import annotations

import asyncio

import pytest

from tests.loops import Factory, both_loops, run, until
from tests.share_pair import share_pair, socket_to, tcp_service
from tests.tls_pair import tcp_pair
from tests.tunnel.test_resumable_end import cut, echo, guest_stream, held, machine, pattern
from tunnel import resumable_end, turns
from tunnel.client import Client
from tunnel.codes import Code
from tunnel.connection import Connection
from tunnel.ends import bridge
from tunnel.frames import Opened, Resume
from tunnel.resumable_end import Phase, ResumableEnd
from tunnel.socket_end import SocketEnd
from tunnel.stream_end import StreamEnd
from vshare import resumables


async def all_idle(client: Client) -> None:
    """Connections are free for other streams: none is under way on either side."""
    await until(lambda: all(each.stream.is_idle for each in client.pool.connections))
    await (await client.pool.acquire()).hello


@both_loops
def test_a_connection_that_resumed_what_had_ended_is_free_again(factory: Factory) -> None:
    """The last stream's connection is replaced before the share has told what it has."""

    async def main() -> None:
        async with share_pair() as pair, machine(echo) as port, pair.client() as client:
            await client.ready()
            async with guest_stream(client, port) as (end, reader, writer):
                writer.write(b"x")
                writer.write_eof()
                assert await reader.read() == b"x"
                await asyncio.shield(end.finished)
            assert end.phase is Phase.SETTLED
            client.renew()
            await until(lambda: end.phase is Phase.OVER and not held(pair))
            assert end.generation == 1
            await all_idle(client)

    run(main, factory)


def test_a_stream_that_is_reset_while_it_resumes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The program gave up, the share's yes was on its way: the share must not keep it open."""

    async def main() -> None:
        async with share_pair() as pair, machine(echo) as port, pair.client() as client:
            await client.ready()
            async with guest_stream(client, port) as (end, reader, writer):
                writer.write(b"x")
                assert await reader.readexactly(1) == b"x"
                answered = Connection._answered

                def give_up_first(self: Connection, answer: Opened | Resume, number: int) -> None:
                    end.reset(Code.CLOSED)
                    answered(self, answer, number)

                monkeypatch.setattr(Connection, "_answered", give_up_first)
                cut(client)
                await until(lambda: end.phase is Phase.OVER and not held(pair))
                await all_idle(client)
                assert not client._resumable

    run(main)


def test_one_task_resumes_a_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection is lost together with the answer: the stream is detached within `attach`."""

    async def main() -> None:
        async with share_pair() as pair, tcp_service() as port, pair.client() as client:
            await client.ready()
            sock, task = await socket_to(client, port)
            answered, lost = Connection._answered, 0

            def lose(self: Connection, answer: Opened | Resume, number: int) -> None:
                nonlocal lost
                answered(self, answer, number)
                if lost < 3:
                    lost += 1
                    self.abort("together with the answer")

            monkeypatch.setattr(Connection, "_answered", lose)
            (end,) = client._resumable
            cut(client)
            await until(lambda: lost == 3 and end.phase is Phase.ATTACHED)
            assert end.generation == lost + 1
            await asyncio.get_running_loop().sock_sendall(sock, b"x")
            assert await asyncio.get_running_loop().sock_recv(sock, 1) == b"x"
            sock.close()
            task.cancel()
            await asyncio.wait([task])

    run(main)


def test_an_answer_that_cannot_be_ends_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with share_pair() as pair, machine(echo) as port, pair.client() as client:
            await client.ready()
            async with guest_stream(client, port) as (end, reader, _):
                answered, connections = Connection._answered, []

                def change(self: Connection, answer: Opened | Resume, number: int) -> None:
                    connections.append(self)
                    answered(self, Resume(end.id, 1, 1_000), number)

                monkeypatch.setattr(Connection, "_answered", change)
                cut(client)
                with pytest.raises(ConnectionResetError):
                    await reader.readexactly(1)
                assert await asyncio.shield(end.finished) is Code.LOST
                (connection,) = connections
                assert connection.is_lost

    run(main)


def test_what_came_before_it_was_wanted_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small window was full, and the PING that asked for an ACK passed, before anybody read."""
    monkeypatch.setattr(resumable_end, "BUDGET", 1)
    monkeypatch.setattr(resumable_end, "MIN_WINDOW", 64 * 1024)
    monkeypatch.setattr(turns, "SHORT_FOR", 0)  # the window and the PING are one read
    data = pattern(500_000)

    async def main() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(data)
            writer.write_eof()
            await reader.read()

        async with share_pair() as pair, machine(serve) as port, pair.client() as client:
            await client.ready()
            end = await client.open("", port)
            assert isinstance(end, ResumableEnd)
            await until(lambda: held(pair) and held(pair)[0]._asked)
            early = end.attachment
            await until(lambda: len(early._early) >= 64 * 1024)
            ours, theirs = tcp_pair()
            async with asyncio.TaskGroup() as group:
                group.create_task(bridge(end, SocketEnd(theirs)))
                reader, writer = await asyncio.open_connection(sock=ours)
                async with asyncio.timeout(5):  # and not when the next PING is due
                    assert await reader.read() == data
                writer.close()

    run(main)


def test_beyond_so_many_streams_a_stream_ends_with_its_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(resumables, "MAX_STREAMS", 1)

    async def main() -> None:
        async with share_pair() as pair, machine(echo) as port, pair.client() as client:
            await client.ready()
            async with guest_stream(client, port) as (_, reader, writer):
                another = await client.open("", port)
                assert isinstance(another, StreamEnd)
                another.reset(Code.CLOSED)
                writer.write_eof()
                assert await reader.read() == b""

    run(main)
