"""Streams whose two EOFs have passed, while one side does not know what the other has."""

from __future__ import annotations

import random
from typing import cast

import pytest

from tests.loops import run
from tests.tls_pair import connection_pair
from tests.tunnel.test_connection import linked, opened
from tests.tunnel.test_resuming_schedules import ID, Program, World
from tunnel import replay
from tunnel.codes import Code
from tunnel.connection import Connection
from tunnel.frames import FrameType, Reason, serialize_message
from tunnel.resumable_end import Phase, ResumableEnd


def both(world: World) -> tuple[ResumableEnd, ResumableEnd]:
    """The stream at the client and at the share."""
    assert world.stream is not None
    (held,) = world.resumables._streams.values()
    return world.stream, held


def is_in(phase: Phase, *streams: ResumableEnd) -> bool:
    """Whether they all are, as of now."""
    return {each.phase for each in streams} == {phase}


def say(program: Program, *, reset: bool = False) -> None:
    """All that it has to say, to its end; then perhaps RESET."""
    while program.go(100):
        pass
    if reset:
        program.peer.reset(Code.CONNECTION_RESET)


def talk(world: World, up: int = 300, down: int = 300) -> None:
    """What the two programs say: less than the way takes."""
    world.client.data = world.machine.expected = bytes(up)
    world.machine.data = world.client.expected = bytes(down)


@pytest.mark.parametrize("by_client", [False, True])
def test_a_late_reset_ends_what_is_kept(*, by_client: bool) -> None:
    """Its sender has forgotten the stream: who hears it neither keeps nor resumes it."""

    async def main() -> None:
        world = World(random.Random(1))
        talk(world)
        await world.open()
        ours, theirs = both(world)
        failing, other = (
            (world.client, world.machine) if by_client else (world.machine, world.client)
        )
        kept = theirs if by_client else ours
        say(other)
        say(failing, reset=True)  # behind its EOF, which the other's EOF crosses
        while world.move_all():
            pass
        assert other.got_eof
        assert not other.was_reset
        assert kept.finished.result() is None  # told before the RESET came
        assert kept.phase is Phase.OVER
        assert not kept._replay.held
        assert not len(world.resumables)
        for wire in world.wires:
            assert cast(Connection, wire.receiver).stream.is_idle
        await world.close()

    run(main)


def test_what_came_before_a_late_reset_is_delivered_to_its_end() -> None:
    """The program reads slowly; and who asks for the stream's result is told of the reset."""

    async def main() -> None:
        world = World(random.Random(1))
        talk(world)
        await world.open()
        stream, _ = both(world)
        world.client.reads = False
        say(world.client)
        say(world.machine, reset=True)
        while world.move_all():
            pass
        assert stream.phase is Phase.OVER
        assert stream._inbox
        assert not stream.finished.done()
        world.client.toggle()
        await world.rest()
        assert world.client.got_eof
        assert not world.client.was_reset
        assert stream.finished.result() is stream.reason is Code.CONNECTION_RESET
        await world.close()

    run(main)


def test_a_late_reset_of_an_earlier_stream_means_nothing() -> None:
    async def main() -> None:
        client, share, _ = await connection_pair()
        first = await opened(client, share)
        for end in first:
            linked(end)
            end.send_eof()
        assert [await end.finished for end in first] == [None, None]
        ends = [ResumableEnd(ID, end, lambda _: None) for end in await opened(client, share)]
        for each in ends:
            each.link(Program(b"", b""))
            each.send_eof()
        for each in ends:
            assert await each.finished is None
        for number, phase in ((1, Phase.SETTLED), (2, Phase.OVER)):
            frame = serialize_message(FrameType.RESET, number, Reason(Code.CLOSED, ""))
            for connection in (client, share):
                connection.data_received(memoryview(frame))
            assert {each.phase for each in ends} == {phase}
        for connection in (client, share):
            assert connection.is_usable or connection is share
            connection.abort("test")

    run(main)


def test_what_is_in_the_inbox_is_counted_once() -> None:
    """Settled, resumed since the share lacks the end, and settled again; nobody has read it yet."""

    async def main() -> None:
        world = World(random.Random(1))
        talk(world)
        await world.open()
        stream, held = both(world)
        world.client.reads = False
        say(world.machine)
        while world.wires[1].move(1 << 20):
            pass
        say(world.client)  # whose end the cut swallows
        assert stream.phase is Phase.SETTLED
        assert stream._inbox
        total = stream.received
        assert total == held.total
        world.cut(both_notice=True)
        while held.phase is not Phase.OVER:  # it knows that the client has everything
            world.resume()
            world.move_all()
            await world.rest()
        world.move_all()
        assert stream.phase is Phase.SETTLED
        assert stream.received == total
        cast(Connection, world.wires[1].receiver).ping()  # whose answer is an honest ACK
        while world.move_all():
            pass
        world.client.toggle()
        await world.rest()
        assert world.client.got_eof
        await world.close()

    run(main)


def test_a_settled_stream_that_is_given_up_frees_its_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It went on because the share lacks its end, and is given up before that was sent."""
    monkeypatch.setattr(replay, "SLOT", 256)
    monkeypatch.setattr(replay, "_free", [])

    async def main() -> None:
        world = World(random.Random(1))
        talk(world, up=3_000)
        await world.open()
        stream, held = both(world)
        say(world.machine)
        world.move_all()
        world.client.go(3_000)
        world.client.may_send = True  # but for the end it would wait
        say(world.client)
        assert stream.phase is Phase.SETTLED
        world.cut(both_notice=True)
        world.resume()
        while is_in(Phase.DETACHED, stream):
            world.move_all()
            await world.rest()
            world.resume()
        assert is_in(Phase.ATTACHED, stream)
        stream.give_up(Code.LOST)
        while world.move_all():
            await world.rest()
        assert is_in(Phase.OVER, stream, held)
        assert cast(Connection, world.wires[0].receiver).is_usable
        await world.close()

    run(main)
