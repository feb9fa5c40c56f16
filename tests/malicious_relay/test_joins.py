"""The relay changes, cuts and repeats the bytes of a join: nobody comes in by it, and a try counts
as one, when the share has answered it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from connect_vm.join_share import join_share
from tests.loops import run, until
from tests.malicious_relay.wire import Leg, Line, Lines, relay
from tests.share_pair import CODE, NAME, share_pair
from tunnel.errors import VshareError
from tunnel.identity import Role

SOON = 5.0  # seconds

Change = Callable[[Leg, bytes], bytes]


def flip_a_bit(leg: Leg, record: bytes) -> bytes:
    return record[:-1] + bytes([record[-1] ^ 1])


def repeat(leg: Leg, record: bytes) -> bytes:
    return record + record


def cut_inside(leg: Leg, record: bytes) -> bytes:
    leg.change = lambda later: b""
    leg.tells_the_end = False
    asyncio.get_running_loop().call_soon(leg.end)
    return record[: len(record) // 2]


# (direction, which record, failures that count, guests that the share has entered); the records
# are those of test_delays.py. Message 4 alone comes when the share has made up its mind: the guest
# then has nothing, and the share a guest who never comes.
WHERE = [
    pytest.param("up", 0, 0, 0, id="ClientHello"),
    pytest.param("up", 2, 0, 0, id="the guest's Finished"),
    pytest.param("up", 3, 0, 0, id="message 1"),
    pytest.param("up", 4, 1, 0, id="message 3"),
    pytest.param("down", 0, 0, 0, id="ServerHello"),
    pytest.param("down", 3, 0, 0, id="the share's certificate"),
    pytest.param("down", 5, 0, 0, id="the share's Finished"),
    pytest.param("down", 6, 1, 0, id="message 2"),
    pytest.param("down", 7, 0, 1, id="message 4"),
]


@pytest.mark.parametrize(("direction", "number", "failures", "entered"), WHERE)
@pytest.mark.parametrize("change", [flip_a_bit, cut_inside])
def test_a_join_is_changed(
    change: Change, direction: str, number: int, failures: int, entered: int
) -> None:
    async def main() -> None:
        async with share_pair() as pair:
            lines = Lines(pair.port)

            def prepare(line: Line) -> None:
                leg = line.leg(direction)
                seen: list[bytes] = []

                def at(record: bytes) -> bytes:
                    seen.append(record)
                    return change(leg, record) if len(seen) == number + 1 else record

                leg.change = at

            lines.prepare = prepare
            async with relay(lines.serve) as attacker, asyncio.timeout(SOON):
                with pytest.raises(VshareError):
                    await join_share(attacker.dial, NAME, CODE, "bob")
                await until(lambda: not pair.server._visitors)
            assert pair.server._attempts.failures == failures
            assert len(pair.failed) == failures
            assert len(pair.joined) == entered
            assert len(pair.guests.of_role(Role.GUEST)) == entered

    run(main)


@pytest.mark.parametrize("number", [3, 4])
def test_a_message_comes_twice(number: int) -> None:
    """The guest may even come in, if the first of both was enough; but only once."""

    async def main() -> None:
        async with share_pair() as pair:
            lines = Lines(pair.port)

            def prepare(line: Line) -> None:
                seen: list[bytes] = []

                def at(record: bytes) -> bytes:
                    seen.append(record)
                    return repeat(line.up, record) if len(seen) == number + 1 else record

                line.up.change = at

            lines.prepare = prepare
            async with relay(lines.serve) as attacker, asyncio.timeout(SOON):
                try:
                    await join_share(attacker.dial, NAME, CODE, "bob")
                except VshareError:
                    pass
                await until(lambda: not pair.server._visitors)
            assert len(pair.joined) == len(pair.guests.of_role(Role.GUEST)) <= 1
            assert pair.server._attempts.failures <= 1

    run(main)
