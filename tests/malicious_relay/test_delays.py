"""The relay holds things back for minutes: nothing is waited for without end, nothing that comes
late is taken, and what was tried counts once. Deadlines are made short here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine

import pytest

from connect_vm.join_share import join_share
from tests.loops import run, until
from tests.malicious_relay.wire import Line, Lines, connected, relay
from tests.share_pair import CODE, NAME, Pair, share_pair
from tunnel.client import Client
from tunnel.errors import LostError
from tunnel.identity import Role
from tunnel.tls_socket import handshake

SHORT = 0.2  # seconds
LONGER = 1.0  # seconds, where arithmetic comes before what is held
SOON = 12.0  # seconds: more than any deadline that is waited for here


FACTORS = (1, 3, 9)  # of the deadlines, for machines that are slower and slower

Scene = Callable[[], Coroutine[None, None, bool]]


@pytest.fixture
def short_deadlines(monkeypatch: pytest.MonkeyPatch) -> None:
    shorten(monkeypatch, 1)


def shorten(monkeypatch: pytest.MonkeyPatch, factor: int, join: float = SHORT) -> None:
    monkeypatch.setattr("tunnel.join.JOIN_TIMEOUT", join * factor)
    monkeypatch.setattr("vshare.server.HEAD_DEADLINE", SHORT * factor)
    monkeypatch.setattr("tunnel.client.HELLO_TIMEOUT", SHORT * factor)
    assert handshake.__kwdefaults__ is not None
    monkeypatch.setitem(handshake.__kwdefaults__, "timeout", SHORT * factor)


def run_until_held(monkeypatch: pytest.MonkeyPatch, main: Scene, join: float = SHORT) -> None:
    """`main()` says False where the machine was so slow that deadlines ended before there was
    anything to hold: then it has longer ones."""
    was_held = False

    async def once() -> None:
        nonlocal was_held
        was_held = await main()

    for factor in FACTORS:
        shorten(monkeypatch, factor, join)
        run(once)
        if was_held:
            return
    pytest.fail("the relay had nothing to hold")


async def nobody_is_served(pair: Pair) -> None:
    """Until the share has given every visitor up, by itself."""
    async with asyncio.timeout(SOON):
        await until(lambda: not pair.server._visitors)


# The guest's records: ClientHello, ChangeCipherSpec, Finished, message 1, message 3. The share's:
# ServerHello, ChangeCipherSpec, four more of its flight, message 2, message 4 (RFC 8446 4, D.4).
@pytest.mark.parametrize(
    ("direction", "through", "failures", "joined"),
    [
        pytest.param("up", 0, 0, 0, id="ClientHello"),
        pytest.param("down", 0, 0, 0, id="ServerHello"),
        pytest.param("up", 2, 0, 0, id="Finished"),
        pytest.param("up", 3, 0, 0, id="message 1"),
        pytest.param("down", 6, 1, 0, id="message 2"),
        pytest.param("up", 4, 1, 0, id="message 3"),
        pytest.param("down", 7, 0, 1, id="message 4"),
    ],
)
def test_a_join_is_held_back(
    direction: str, through: int, failures: int, joined: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is held, both sides give up by themselves: neither learns that the other did."""

    async def main() -> bool:
        async with share_pair() as pair:
            lines = Lines(pair.port)

            def prepare(line: Line) -> None:
                line.leg(direction).hold_after(through)
                line.up.tells_the_end = line.down.tells_the_end = False

            lines.prepare = prepare
            async with relay(lines.serve) as attacker:
                async with asyncio.timeout(SOON):
                    with pytest.raises(LostError):
                        await join_share(attacker.dial, NAME, CODE, "bob")
                if not lines.all or not lines.all[0].leg(direction).held:
                    return False
                (line,) = lines.all
                await nobody_is_served(pair)

                def outcome() -> tuple[int, int, int, int]:
                    attempts = pair.server._attempts
                    guests = len(pair.guests.of_role(Role.GUEST))
                    return attempts.failures, len(pair.failed), len(pair.joined), guests

                assert outcome() == (failures, failures, joined, joined)
                await line.leg(direction).deliver_late()
                await nobody_is_served(pair)
                assert outcome() == (failures, failures, joined, joined)
                return True

    run_until_held(monkeypatch, main, LONGER if through > 3 else SHORT)


@pytest.mark.parametrize("said", [b"", b"\x16", b"\x16\x03\x01\x02\x00\x01"])
def test_silence_at_the_shares_door(said: bytes, short_deadlines: None) -> None:
    async def main() -> None:
        async with share_pair() as pair:
            sock = await connected(pair.port)
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(sock, said)
            async with asyncio.timeout(SOON):
                try:
                    assert await loop.sock_recv(sock, 1) == b""
                except ConnectionResetError:
                    pass  # there was something unread
            sock.close()
            await nobody_is_served(pair)

    run(main)


@pytest.mark.parametrize(("direction", "through"), [("up", 0), ("up", 2), ("down", 0), ("down", 4)])
def test_a_handshake_is_not_waited_for(
    direction: str, through: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> bool:
        async with share_pair() as pair:
            lines = Lines(pair.port)

            def prepare(line: Line) -> None:
                line.leg(direction).hold_after(through)
                line.up.tells_the_end = line.down.tells_the_end = False

            lines.prepare = prepare
            async with (
                relay(lines.serve) as attacker,
                Client(attacker.dial, pair.identity(), NAME, min_idle=0) as client,
            ):
                async with asyncio.timeout(SOON):
                    with pytest.raises(LostError):
                        await client.ready()
                if not lines.all or not lines.all[0].leg(direction).held:
                    return False
                line = lines.all[0]
                await line.leg(direction).deliver_late()
                assert client.hello is None
                assert not any(guest.connections for guest in pair.guests.of_role(Role.GUEST))
                return True

    run_until_held(monkeypatch, main)


def test_hello_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """It holds the share's HELLO, the last of eight records, and brings it when it is too late."""

    async def main() -> bool:
        async with share_pair() as pair:
            lines = Lines(pair.port)
            lines.prepare = lambda line: line.down.hold_after(7)
            async with (
                relay(lines.serve) as attacker,
                Client(attacker.dial, pair.identity(), NAME, min_idle=0) as client,
            ):
                async with asyncio.timeout(SOON):
                    with pytest.raises(LostError):
                        await client.ready()
                    if not lines.all or not lines.all[0].down.held:
                        return False
                    line = lines.all[0]
                    await line.down.deliver_late()
                    await until(lambda: line.tasks[0].done())
                assert client.hello is None
                assert not client.pool.idle
                return True

    run_until_held(monkeypatch, main)
