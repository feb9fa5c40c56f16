"""Streams that go on over another connection: whatever is cut, whenever, not a byte is wrong."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hashlib
import random
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import cast

import pytest

from tests.loops import BOTH, Factory, run, until
from tests.share_pair import NAME, Pair, share_pair
from tests.tls_pair import tcp_pair
from tunnel import client as client_module
from tunnel import resumable_end
from tunnel.client import Client
from tunnel.codes import Code
from tunnel.ends import Sink, bridge
from tunnel.errors import RefusedError
from tunnel.frames import Resume
from tunnel.identity import Role
from tunnel.replay import SLOT
from tunnel.resumable_end import WINDOW, Phase, ResumableEnd
from tunnel.socket_end import READ_SIZE, SocketEnd
from tunnel.stream_end import StreamEnd
from vshare import resumables

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def pattern(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


@contextlib.asynccontextmanager
async def machine(serve: Serve) -> AsyncIterator[int]:
    """A server on the shared machine; `serve(reader, writer)` for each connection."""
    serving: set[asyncio.Task[None]] = set()

    async def tracked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.add(task)
        try:
            await serve(reader, writer)
        finally:
            writer.close()
            serving.discard(task)

    server = await asyncio.start_server(tracked, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in list(serving):
            task.cancel()
        await until(lambda: not serving)


@contextlib.asynccontextmanager
async def guest_stream(
    client: Client, port: int
) -> AsyncIterator[tuple[ResumableEnd, asyncio.StreamReader, asyncio.StreamWriter]]:
    """A stream as a program on the guest's host has it: a socket, bridged."""
    end = await client.open("", port)
    assert isinstance(end, ResumableEnd)
    ours, theirs = tcp_pair()
    async with asyncio.TaskGroup() as group:
        carrying = group.create_task(bridge(end, SocketEnd(theirs)))
        reader, writer = await asyncio.open_connection(sock=ours)
        try:
            yield end, reader, writer
        finally:
            writer.close()
            carrying.cancel()


def cut(client: Client) -> int:
    """Every connection dies, as when the relay is killed; how many there were."""
    connections = list(client.pool.connections)
    for connection in connections:
        connection.abort("cut")
    return len(connections)


async def cut_until(client: Client, is_over: Callable[[], bool]) -> None:
    """Cut what there is, and what was being dialled meanwhile."""

    def is_over_now() -> bool:
        cut(client)
        return is_over()

    await until(is_over_now)


def moved(end: ResumableEnd) -> int:
    return end.received + end.bytes_sent


def is_there(end: ResumableEnd, goal: int) -> bool:
    return end.finished.done() or moved(end) >= goal


def held(pair: Pair) -> list[ResumableEnd]:
    return list(pair.streams._resumables._streams.values())


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.write_eof()
    writer.close()


@pytest.mark.parametrize("factory", BOTH.values(), ids=BOTH)
def test_an_echo_goes_on_after_cuts(factory: Factory) -> None:
    async def main() -> None:
        async with share_pair() as pair, machine(echo) as port, pair.client() as client:
            await client.ready()
            async with guest_stream(client, port) as (end, reader, writer):
                for number in range(5):
                    line = b"line %d\n" % number
                    writer.write(line)
                    assert await reader.readline() == line
                    assert cut(client)
                assert end.generation == 4 or end.phase is Phase.DETACHED
                writer.write_eof()
                assert await reader.read() == b""
                assert await asyncio.shield(end.finished) is None

    run(main, factory)


@pytest.mark.parametrize("direction", ["up", "down", "both"])
@pytest.mark.parametrize("seed", range(3))
def test_cut_anywhere_in_a_transfer(direction: str, seed: int) -> None:
    size, random_ = 3_000_000, random.Random(seed)
    data = pattern(size, seed)

    async def main() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            async def send() -> None:
                if direction != "up":
                    writer.write(data)
                writer.write_eof()
                await writer.drain()

            async with asyncio.TaskGroup() as group:
                group.create_task(send())
                got.append(await reader.read())
            writer.close()

        got: list[bytes] = []
        async with share_pair() as pair, machine(serve) as port, pair.client() as client:
            await client.ready()
            async with guest_stream(client, port) as (end, reader, writer):

                async def send() -> None:
                    if direction != "down":
                        writer.write(data)
                    writer.write_eof()
                    await writer.drain()

                async def cutter() -> None:
                    for _ in range(4):
                        goal = moved(end) + random_.randrange(1, size // 4)
                        await until(functools.partial(is_there, end, goal))
                        side = held(pair)
                        if random_.random() < 0.5 and side:
                            side[0].attachment.connection.abort("cut on the share's side")
                        else:
                            cut(client)

                async with asyncio.TaskGroup() as group:
                    group.create_task(send())
                    cutting = group.create_task(cutter())
                    answer = await reader.read()
                    assert await asyncio.shield(end.finished) is None
                    cutting.cancel()
            await until(lambda: got)
        digest = hashlib.sha256(data).digest()
        if direction != "down":
            assert hashlib.sha256(got[0]).digest() == digest
        if direction != "up":
            assert hashlib.sha256(answer).digest() == digest

    run(main)


def test_bytes_that_were_sent_and_ended_before_the_cut_still_arrive() -> None:
    """The program has closed, its last bytes were in a buffer of a relay that died."""

    async def main() -> None:
        got: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write_eof()
            try:
                got.set_result(await reader.read())
            except OSError as error:
                got.set_exception(error)
            writer.close()

        async with share_pair() as pair, machine(serve) as port, pair.client() as client:
            await client.ready()
            end = await client.open("", port)
            assert isinstance(end, ResumableEnd)
            ours, theirs = tcp_pair()
            with ours:
                async with asyncio.TaskGroup() as group:
                    group.create_task(bridge(end, SocketEnd(theirs)))
                    reader, writer = await asyncio.open_connection(sock=ours)
                    assert await reader.read() == b""
                    connection = end.attachment.connection
                    # The wire swallows what comes now, then breaks.
                    connection._tls.write = lambda *_: None  # type: ignore[method-assign]
                    writer.write(b"the last words")
                    writer.write_eof()
                assert end.finished.done()  # for the program on the guest's host
                connection.abort("cut")
                assert await got == b"the last words"
                end.attachment.connection.ping()  # as happens each 10 s: both tell what they have
                await until(lambda: end.phase is Phase.OVER)
                writer.close()

    run(main)


def test_settled_streams_are_forgotten_by_both_sides() -> None:
    async def main() -> None:
        async with share_pair() as pair, machine(echo) as port, pair.client() as client:
            await client.ready()
            for _ in range(20):
                async with guest_stream(client, port) as (end, reader, writer):
                    writer.write(b"x")
                    writer.write_eof()
                    assert await reader.read() == b"x"
                    await asyncio.shield(end.finished)
            bound = len(client.pool.connections)
            assert len(held(pair)) <= bound
            assert len(client._resumable) <= bound
            for connection in client.pool.connections:
                connection.ping()  # it makes both tell what they have
            await until(lambda: not held(pair) and not client._resumable)

    run(main)


def test_a_removed_guests_streams_do_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        ended = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError):
                await reader.read()
            ended.set()
            writer.close()

        async with share_pair() as pair, machine(serve) as port, pair.client() as client:
            await client.ready()
            async with guest_stream(client, port) as (end, reader, _):
                await until(lambda: held(pair))
                (guest,) = pair.guests.of_role(Role.GUEST)
                pair.guests.remove(guest, "enough")
                await ended.wait()
                assert not held(pair)
                with pytest.raises(ConnectionResetError):
                    await reader.readexactly(1)
                assert await asyncio.shield(end.finished) is not None

    run(main)


def test_not_in_time_is_an_error_and_no_end_of_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "RESUME_WITHIN", 0.05)

    async def main() -> None:
        async with share_pair() as pair, machine(echo) as port:
            dead = False

            async def dial() -> socket.socket:
                if dead:
                    raise ConnectionRefusedError(111, "refused")
                return await pair.dial()

            async with Client(dial, pair.identity(), NAME) as client:
                await client.ready()
                async with guest_stream(client, port) as (end, reader, writer):
                    writer.write(b"x")
                    assert await reader.readexactly(1) == b"x"
                    dead = True
                    await cut_until(client, end.finished.done)
                    with pytest.raises(ConnectionResetError):
                        await reader.readexactly(1)
                    assert await asyncio.shield(end.finished) is Code.LOST

    run(main)


def test_a_share_gives_up_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resumables, "HELD_FOR", 0.05)

    async def main() -> None:
        seen: asyncio.Future[object] = asyncio.get_running_loop().create_future()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                seen.set_result(await reader.read())
            except OSError as error:
                seen.set_result(error)
            writer.close()

        async with share_pair() as pair, machine(serve) as port:
            dead = False

            async def dial() -> socket.socket:
                if dead:
                    raise ConnectionRefusedError(111, "refused")
                return await pair.dial()

            async with Client(dial, pair.identity(), NAME) as client:
                await client.ready()
                await client.open("", port)
                await until(lambda: held(pair))
                dead = True
                await cut_until(client, seen.done)
                assert isinstance(seen.result(), ConnectionResetError)
                await until(lambda: not held(pair))

    run(main)


# -- whose it is


def test_nobody_resumes_what_is_not_his() -> None:
    async def main() -> None:
        async with (
            share_pair() as pair,
            machine(echo) as port,
            pair.client() as alice,
            pair.client() as mallory,
        ):
            await alice.ready()
            async with guest_stream(alice, port) as (end, reader, writer):
                writer.write(b"x")
                assert await reader.readexactly(1) == b"x"
                connection = await mallory.pool.acquire()
                stolen = connection.open(Resume(end.id, 1, 0))
                with pytest.raises(RefusedError):
                    await stolen.opened
                writer.write(b"y")  # and nothing happened to it
                assert await reader.readexactly(1) == b"y"
                assert end.generation == 0

    run(main)


@pytest.mark.parametrize(
    ("generation", "offset"), [(0, 1), (1, 2), (1, 2**61)], ids=["old", "ahead", "far"]
)
def test_resumptions_that_cannot_be(generation: int, offset: int) -> None:
    async def main() -> None:
        async with share_pair() as pair, machine(echo) as port, pair.client() as client:
            await client.ready()
            async with guest_stream(client, port) as (end, reader, writer):
                writer.write(b"x")
                assert await reader.readexactly(1) == b"x"
                connection = await client.pool.acquire()
                with pytest.raises(RefusedError):
                    await connection.open(Resume(end.id, generation, offset)).opened
                writer.write(b"y")
                assert await reader.readexactly(1) == b"y"

    run(main)


def test_an_offset_below_what_was_acknowledged() -> None:
    async def main() -> None:
        async with share_pair() as pair, machine(echo) as port, pair.client() as client:
            await client.ready()
            async with guest_stream(client, port) as (end, reader, writer):
                writer.write(b"xyz")
                assert await reader.readexactly(3) == b"xyz"
                (side,) = held(pair)
                end.flush_ack()
                await until(lambda: side._replay.start == 3)
                connection = await client.pool.acquire()
                with pytest.raises(RefusedError):
                    await connection.open(Resume(end.id, 1, 1)).opened

    run(main)


def test_what_was_never_sent_cannot_be_acknowledged() -> None:
    async def main() -> None:
        async with share_pair() as pair, machine(echo) as port, pair.client() as client:
            await client.ready()
            async with guest_stream(client, port) as (end, reader, writer):
                writer.write(b"xyz")
                assert await reader.readexactly(3) == b"xyz"
                (side,) = held(pair)
                connection = side.attachment.connection
                end.attachment.send_ack(4)
                await until(lambda: connection.is_lost)

    run(main)


def test_the_later_attempt_wins() -> None:
    """The client took the old connection for dead: the share still saw it alive."""

    async def main() -> None:
        async with share_pair() as pair, machine(echo) as port, pair.client() as client:
            await client.ready()
            async with guest_stream(client, port) as (end, reader, writer):
                writer.write(b"x")
                assert await reader.readexactly(1) == b"x"
                (side,) = held(pair)
                before = side.attachment.connection
                end.detach()
                await until(lambda: end.phase is Phase.ATTACHED)
                assert before.is_lost
                writer.write(b"y")
                assert await reader.readexactly(1) == b"y"

    run(main)


# -- memory


def test_a_reader_that_stops_bounds_what_is_kept() -> None:
    async def main() -> None:
        release = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.transport.set_write_buffer_limits(high=0)
            writer.write(pattern(24_000_000))
            await release.wait()
            writer.close()

        async with share_pair() as pair, machine(serve) as port, pair.client() as client:
            await client.ready()
            end = await client.open("", port)  # nobody reads it
            assert isinstance(end, ResumableEnd)
            ours, theirs = tcp_pair()
            with ours, theirs:
                async with asyncio.TaskGroup() as group:
                    carrying = group.create_task(bridge(end, SocketEnd(theirs)))
                    await until(lambda: held(pair))
                    (side,) = held(pair)
                    await until(lambda: side._replay.held >= WINDOW)
                    for _ in range(100):  # time for more, which must not come
                        await asyncio.sleep(0.001)
                    assert side._replay.held <= WINDOW + READ_SIZE
                    assert len(side._replay._slots) * SLOT <= WINDOW + READ_SIZE + 2 * SLOT
                    carrying.cancel()
                release.set()

    run(main)


@pytest.mark.parametrize("ends", [False, True])
@pytest.mark.parametrize("cuts", [0, 3])
def test_both_sides_send_before_they_read(ends: bool, cuts: int) -> None:
    """ACKs lie behind data that the program does not read yet: its own must flow nevertheless."""
    up, down = pattern(5_000_000, 1), pattern(20_000_000, 2)

    async def main() -> None:
        got: list[bytes] = []

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(down)
            if ends:
                writer.write_eof()
            got.append(await reader.readexactly(len(up)))
            with contextlib.suppress(OSError):
                await reader.read()

        async with share_pair() as pair, machine(serve) as port, pair.client() as client:
            await client.ready()
            async with guest_stream(client, port) as (end, reader, writer):
                cast(asyncio.ReadTransport, writer.transport).pause_reading()
                writer.write(up)
                for number in range(cuts):
                    await until(functools.partial(is_there, end, (number + 1) * 1_000_000))
                    cut(client)
                await until(lambda: got)
                (side,) = held(pair)
                assert len(end._inbox) <= WINDOW + READ_SIZE
                assert side._replay.held <= WINDOW + READ_SIZE
                cast(asyncio.ReadTransport, writer.transport).resume_reading()
                if cuts:
                    cut(client)
                assert await reader.readexactly(len(down)) == down
                writer.write_eof()
                assert hashlib.sha256(got[0]).digest() == hashlib.sha256(up).digest()

    run(main)


def test_an_end_that_came_while_the_program_read_nothing() -> None:
    """Both directions have ended on the wire; the program reads what came when it likes to."""
    data = pattern(WINDOW - 1000)

    async def main() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(data)
            writer.write_eof()
            with contextlib.suppress(OSError):
                await reader.read()

        async with share_pair() as pair, machine(serve) as port, pair.client() as client:
            await client.ready()
            end = await client.open("", port)
            assert isinstance(end, ResumableEnd)
            program = Program()
            end.link(program)
            end.pause_reading()
            end._replay.append(bytes(WINDOW))  # as if nothing had been acknowledged
            end._steer_reading()
            await until(lambda: end._end_in_inbox)
            end._replay.release(end._replay.end)
            end._wire = end._replay.end
            assert not end.finished.done()
            assert not program.data
            end._steer_reading()
            end.resume_reading()
            await until(lambda: program.ended)
            assert bytes(program.data) == data
            end.reset(Code.CLOSED)

    run(main)


class Program(Sink):
    """Takes what comes, and knows when it ended."""

    def __init__(self) -> None:
        super().__init__(10**9)
        self.ended = False

    def send_eof(self) -> None:
        self.ended = True


def test_many_streams_share_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    """A window smaller than what an ACK waits for: a PING asks for one, and it flows on."""
    monkeypatch.setattr(resumable_end, "BUDGET", 1)
    monkeypatch.setattr(resumable_end, "MIN_WINDOW", 64 * 1024)
    data = pattern(2_000_000)

    async def main() -> None:
        async with share_pair() as pair, machine(echo) as port, pair.client() as client:
            await client.ready()
            async with guest_stream(client, port) as (_, reader, writer):
                writer.write(data)
                writer.write_eof()
                assert await reader.read() == data

    run(main)


def test_resuming_that_leads_nowhere_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with share_pair() as pair, machine(echo) as port, pair.client() as client:
            await client.ready()
            async with guest_stream(client, port) as (end, reader, _):
                attach = ResumableEnd.attach

                def cut_at_once(self: ResumableEnd, end: StreamEnd, offset: int) -> None:
                    attach(self, end, offset)
                    end.connection.abort("again")

                monkeypatch.setattr(ResumableEnd, "attach", cut_at_once)
                cut(client)
                with pytest.raises(ConnectionResetError):
                    await reader.readexactly(1)
                assert await asyncio.shield(end.finished) is Code.LOST

    run(main)
