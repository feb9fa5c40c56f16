"""The relay changes, cuts, moves and repeats the bytes of connections that it carries.

Whatever it does ends the connection with an error: what came before is right, nothing after it
is delivered, and no stream ends as if it were whole.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import pytest

from tests.loops import run, until
from tests.malicious_relay.wire import APPLICATION_DATA, Leg, Line, Lines, connected, relay
from tests.share_pair import NAME, Pair, TcpService, share_pair, socket_to, tcp_service
from tests.tls_pair import tls_pair
from tunnel.client import Client
from tunnel.codes import Code
from tunnel.connection import Connection
from tunnel.errors import LostError, VshareError
from tunnel.frames import FrameType, Notice, serialize_message
from tunnel.identity import Role

BEFORE = secrets.token_bytes(5_000)
AFTER = secrets.token_bytes(200_000)  # many records, in one frame or in several

Attack = Callable[[Leg, list[bytes]], Awaitable[None]]


class Machine(TcpService):
    """What the shared machine is sent, and how that ended; it answers what it is told to."""

    def __init__(self) -> None:
        self.received = bytearray()
        self.ended: list[str] = []
        instances.append(self)

    def data_received(self, data: bytes) -> None:
        self.received += data

    def eof_received(self) -> bool:
        self.ended.append("eof")
        return True

    def connection_lost(self, error: Exception | None) -> None:
        self.ended.append("clean" if error is None else "reset")


instances: list[Machine] = []


@dataclass
class Stream:
    """One stream through the relay: the guest's socket, the machine's end, the line between."""

    pair: Pair
    client: Client
    guest: socket.socket
    machine: Machine
    line: Line

    async def send(self, direction: str, data: bytes) -> None:
        """From the guest ("up") or from the machine."""
        if direction == "up":
            with contextlib.suppress(OSError):
                await asyncio.get_running_loop().sock_sendall(self.guest, data)
        elif not self.machine.transport.is_closing():
            self.machine.transport.write(data)

    async def ended(self) -> tuple[bytes, str]:
        """What reached the guest, and how it ended there."""
        received = bytearray()
        while True:
            try:
                data = await asyncio.get_running_loop().sock_recv(self.guest, 65_536)
            except OSError:
                return bytes(received), "reset"
            if not data:
                return bytes(received), "eof"
            received += data


def no_further(line: Line) -> None:
    raise LostError("this relay pairs nobody any more")


@contextlib.asynccontextmanager
async def stream() -> AsyncIterator[Stream]:
    """A stream that works: BEFORE has passed in both directions."""
    instances.clear()
    async with share_pair() as pair, tcp_service(Machine) as port:
        lines = Lines(pair.port)
        async with (
            relay(lines.serve) as attacker,
            Client(attacker.dial, pair.identity(), NAME, min_idle=0) as client,
        ):
            sock, task = await socket_to(client, port)
            await until(lambda: instances)
            made = Stream(pair, client, sock, instances[0], lines.all[0])
            await made.send("up", BEFORE)
            await until(lambda: made.machine.received == BEFORE)
            await made.send("down", BEFORE)
            received = b""
            while len(received) < len(BEFORE):
                received += await asyncio.get_running_loop().sock_recv(sock, 65_536)
            assert received == BEFORE
            lines.prepare = no_further  # or the stream would go on there, none the worse
            try:
                yield made
            finally:
                sock.close()
                task.cancel()
                await asyncio.wait([task])


def flipped(record: bytes, at: int) -> bytes:
    return record[:at] + bytes([record[at] ^ 1]) + record[at + 1 :]


def change_of(attack: str) -> Callable[[bytes], bytes]:
    """What is done to the records that come from now on: the first passes as it is."""
    seen: list[bytes] = []

    def change(record: bytes) -> bytes:
        seen.append(record)
        number = len(seen)
        if number == 1:
            return record
        if attack == "flips a bit":
            return flipped(record, len(record) // 2) if number == 2 else record
        if attack == "flips a bit of the last byte":
            return flipped(record, len(record) - 1) if number == 2 else record
        if attack == "flips the length":
            return flipped(record, 4) if number == 2 else record
        if attack == "drops one":
            return b"" if number == 2 else record
        if attack == "swaps two":
            return b"" if number == 2 else record + seen[1] if number == 3 else record
        if attack == "repeats one":
            return record + record if number == 2 else record
        if attack == "repeats an earlier one":
            return record + seen[0] if number == 2 else record
        if attack == "puts one of its own in":
            own = bytes([APPLICATION_DATA, 3, 3, 0, 64]) + secrets.token_bytes(64)
            return own + record if number == 2 else record
        if attack == "puts a plain alert in":  # close_notify (RFC 8446 6.1), not encrypted
            return b"\x15\x03\x03\x00\x02\x01\x00" + record if number == 2 else record
        raise AssertionError(attack)

    return change


CHANGES = (
    "flips a bit",
    "flips a bit of the last byte",
    "flips the length",
    "drops one",
    "swaps two",
    "repeats one",
    "repeats an earlier one",
    "puts one of its own in",
    "puts a plain alert in",
)


async def assert_nothing_wrong_came(made: Stream, direction: str) -> None:
    """The right beginning, a reset on both sides, and the connection is gone."""
    at_guest, end = await made.ended()
    assert end == "reset"
    await until(lambda: "reset" in made.machine.ended or "clean" in made.machine.ended)
    at_machine = bytes(made.machine.received[len(BEFORE) :])
    for received in (at_guest, at_machine):
        assert AFTER.startswith(received)
        assert len(received) < len(AFTER)
    assert made.machine.ended == ["reset"]
    if direction == "up":
        assert at_guest == b""
    else:
        assert at_machine == b""
    await until(lambda: not made.pair.server._connections)
    traffic = made.pair.told("stream")[0].fields
    assert traffic["code"] is not None
    assert traffic["bytes_in"] == len(BEFORE) + len(at_machine)


@pytest.mark.parametrize("direction", ["up", "down"])
@pytest.mark.parametrize("attack", CHANGES)
def test_changed_bytes_end_the_connection(attack: str, direction: str) -> None:
    async def main() -> None:
        async with stream() as made:
            made.line.leg(direction).change = change_of(attack)
            sending = asyncio.get_running_loop().create_task(made.send(direction, AFTER))
            await assert_nothing_wrong_came(made, direction)
            sending.cancel()
            await asyncio.wait([sending])

    run(main)


@pytest.mark.parametrize("direction", ["up", "down"])
@pytest.mark.parametrize("where", ["inside a record", "inside a head", "between records"])
def test_a_stream_that_is_cut_never_ends_clean(where: str, direction: str) -> None:
    """Between records it is inside a frame, too: one has 200,000 bytes, a record 16 KiB."""

    async def main() -> None:
        async with stream() as made:
            leg = made.line.leg(direction)
            cut: list[asyncio.Task[None]] = []
            seen: list[bytes] = []

            def change(record: bytes) -> bytes:
                seen.append(record)
                if len(seen) == 1:
                    return record
                if not cut:
                    last = {"inside a record": len(record) // 2, "inside a head": 3}.get(where, 0)
                    cut.append(asyncio.get_running_loop().create_task(leg.cut(record[:last])))
                return b""

            leg.change = change
            sending = asyncio.get_running_loop().create_task(made.send(direction, AFTER))
            await assert_nothing_wrong_came(made, direction)
            sending.cancel()
            await asyncio.wait([sending, *cut])

    run(main)


@pytest.mark.parametrize("direction", ["up", "down"])
@pytest.mark.parametrize("how", ["FIN", "RST"])
def test_a_stream_that_is_cut_before_its_end_never_ends_clean(how: str, direction: str) -> None:
    """All bytes came, only the end of the stream did not: a program must not take it for one."""

    async def main() -> None:
        async with stream() as made:
            leg = made.line.leg(direction)
            if how == "FIN":
                await leg.cut()
            else:
                made.line.reset()
            received, end = await made.ended()
            assert (received, end) == (b"", "reset")
            await until(lambda: made.machine.ended)
            assert made.machine.ended == ["reset"]
            assert bytes(made.machine.received) == BEFORE
            await until(lambda: made.pair.told("stream"))
            assert made.pair.told("stream")[0].fields["code"] == Code.LOST.name.lower()

    run(main)


@pytest.mark.parametrize("direction", ["up", "down"])
def test_an_end_that_is_held_back_is_no_end(direction: str) -> None:
    """It keeps EOF to itself: nobody is told that the stream has ended, until it ends otherwise."""

    async def main() -> None:
        async with stream() as made:
            leg = made.line.leg(direction)
            held: list[bytes] = []

            def hold(record: bytes) -> bytes:
                held.append(record)
                return b""

            leg.change = hold
            if direction == "up":
                made.guest.shutdown(socket.SHUT_WR)
            else:
                made.machine.transport.write_eof()
            await until(lambda: held)
            assert made.machine.ended == []
            await leg.cut()
            assert await made.ended() == (b"", "reset")
            await until(lambda: made.machine.ended)
            assert made.machine.ended == ["reset"]

    run(main)


def test_its_own_bytes_come_back_to_the_guest() -> None:
    """What the guest sent, back to it in place of the share's."""

    async def main() -> None:
        async with stream() as made:
            made.line.up.sink = made.line.up.source
            sending = asyncio.get_running_loop().create_task(made.send("up", AFTER))
            assert await made.ended() == (b"", "reset")
            await asyncio.wait([sending])
            assert bytes(made.machine.received) == BEFORE
            await made.line.up.cut()

    run(main)


FORGED = serialize_message(FrameType.NOTICE, 0, Notice(77, "removed", "by the relay"))


@pytest.mark.parametrize("forgery", ["plain", "as a record", "recorded"])
def test_a_notice_cannot_be_forged(forgery: str) -> None:
    """A frame as it is, one as a record, and a real notice once more: inside TLS all are noise."""

    async def main() -> None:
        told: list[Notice] = []
        states: list[object] = []
        async with share_pair() as pair:
            lines = Lines(pair.port)
            async with (
                relay(lines.serve) as attacker,
                Client(
                    attacker.dial,
                    pair.identity(),
                    NAME,
                    states.append,
                    min_idle=0,
                    on_notice=told.append,
                ) as client,
            ):
                await client.ready()
                (connection,) = client.pool.connections
                down = lines.all[0].down
                before = len(down.records)
                pair.server.notify("expires", "", 600.0)
                await until(lambda: told)
                head = bytes([APPLICATION_DATA, 3, 3]) + len(FORGED).to_bytes(2, "big")
                forged = {"plain": FORGED, "as a record": head + FORGED}.get(
                    forgery, down.records[before]
                )
                await asyncio.get_running_loop().sock_sendall(down.sink, forged)
                await until(lambda: connection.is_lost)
                assert isinstance(connection.error, LostError)
                assert [notice.kind for notice in told] == ["expires"]

    run(main)


def test_nothing_is_told_before_the_share_has_let_the_guest_in() -> None:
    async def main() -> None:
        told: list[Notice] = []
        client_tls, share_tls = await tls_pair()
        share = Connection(share_tls, is_client=False, on_change=lambda connection: None)
        client = Connection(
            client_tls, is_client=True, on_change=lambda connection: None, on_notice=told.append
        )
        share.send_notice(Notice(1, "removed", "by whom?"))
        await until(lambda: told or client.is_lost)
        assert told == []
        with pytest.raises(LostError):
            await client.hello
        share.abort("test")

    run(main)


# -- one guest's bytes in another's connection


@contextlib.asynccontextmanager
async def two_guests() -> AsyncIterator[tuple[Lines, list[Stream], Pair]]:
    """Two guests of one share with a stream each, both through the relay."""
    instances.clear()
    async with share_pair() as pair, tcp_service(Machine) as port, contextlib.AsyncExitStack() as s:
        lines = Lines(pair.port)
        attacker = await s.enter_async_context(relay(lines.serve))
        made: list[Stream] = []
        for number in range(2):
            client = Client(attacker.dial, pair.identity(), NAME, min_idle=0)
            await s.enter_async_context(client)
            sock, task = await socket_to(client, port)
            s.callback(task.cancel)
            s.callback(sock.close)
            await until(lambda: len(instances) > number)  # noqa: B023 - called at once
            made.append(Stream(pair, client, sock, instances[number], lines.all[number]))
            await made[number].send("up", BEFORE)
            await until(lambda: bytes(made[-1].machine.received) == BEFORE)
        lines.prepare = no_further
        yield lines, made, pair


@pytest.mark.parametrize("direction", ["up", "down"])
def test_it_crosses_two_guests_connections(direction: str) -> None:
    """From now on A's bytes go to B's connection, and B's to A's."""

    async def main() -> None:
        async with two_guests() as (_, (one, other), pair):
            legs = one.line.leg(direction), other.line.leg(direction)
            legs[0].sink, legs[1].sink = legs[1].sink, legs[0].sink
            for each in (one, other):
                await each.send(direction, b"secret of one")
            for each in (one, other):
                assert await each.ended() == (b"", "reset")
                await until(lambda: each.machine.ended)  # noqa: B023 - called at once
                assert each.machine.ended == ["reset"]
                assert bytes(each.machine.received) == BEFORE
            await until(lambda: not pair.server._connections)
            assert all(guest.connections == 0 for guest in pair.guests.of_role(Role.GUEST))

    run(main)


def test_it_gives_a_new_guest_anothers_connection() -> None:
    """B's ClientHello goes into A's established connection, and the answers go to B."""

    async def main() -> None:
        async with stream() as made:
            taken = asyncio.Event()

            async def take_over(sock: socket.socket) -> None:
                made.line.down.sink = sock
                legs = Leg(sock, made.line.up.sink)
                taken.set()
                await legs.carry()

            known = len(made.pair.server.guests.of_role(Role.GUEST))
            async with relay(take_over) as attacker:
                async with Client(attacker.dial, made.pair.identity(), NAME, min_idle=0) as other:
                    with pytest.raises(VshareError):
                        await other.ready()
                    assert other.hello is None
                assert taken.is_set()
                await until(lambda: made.machine.ended)
            assert made.machine.ended == ["reset"]
            assert bytes(made.machine.received) == BEFORE
            await until(lambda: not made.pair.server._connections)
            assert len(made.pair.server.guests.of_role(Role.GUEST)) == known + 1  # as listed

    run(main)


def test_recorded_bytes_in_a_new_connection() -> None:
    """What one guest's connection was, played to the share, and played to another guest."""

    async def main() -> None:
        async with stream() as made:
            up, down = (list(leg.records) for leg in (made.line.up, made.line.down))
            connections = len(made.pair.server._connections)

            sock = await connected(made.pair.port)
            loop = asyncio.get_running_loop()
            answer = b""
            with contextlib.suppress(OSError):
                await loop.sock_sendall(sock, b"".join(up))
                while data := await loop.sock_recv(sock, 65_536):
                    answer += data
            sock.close()
            assert len(made.pair.server._connections) == connections
            assert len(instances) == 1  # no second stream to the machine
            assert len(answer) < sum(map(len, down))

            async def play(sock: socket.socket) -> None:
                await loop.sock_recv(sock, 65_536)
                await loop.sock_sendall(sock, b"".join(down))
                while await loop.sock_recv(sock, 65_536):
                    pass

            async with (
                relay(play) as attacker,
                Client(attacker.dial, made.pair.identity(), NAME, min_idle=0) as other,
            ):
                with pytest.raises(VshareError):
                    await other.ready()
                assert other.hello is None

    run(main)
