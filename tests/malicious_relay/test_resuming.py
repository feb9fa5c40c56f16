"""The relay plays with streams that go on: it has the old connection's bytes, and pairs the new.

Whatever it does, what arrives is what was sent, once and in order, and nobody else gets it.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import pytest

from tests.loops import run, until
from tests.malicious_relay.test_tampering import Machine, instances
from tests.malicious_relay.wire import Line, Lines, connected, relay
from tests.share_pair import NAME, Pair, share_pair, socket_to, tcp_service
from tunnel import client as client_module
from tunnel import tls_socket
from tunnel.client import Client
from tunnel.resumable_end import Phase, ResumableEnd
from vshare import resumables

BEFORE = secrets.token_bytes(5_000)
AFTER = secrets.token_bytes(100_000)
PATIENCE = 20.0  # seconds: as good as for ever
SHORT = 0.2  # seconds


@pytest.fixture(autouse=True)
def patient(soon: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here streams go on in the end."""
    monkeypatch.setattr(client_module, "RESUME_WITHIN", PATIENCE)
    monkeypatch.setattr(resumables, "HELD_FOR", PATIENCE)


@dataclass
class Scene:
    """A stream through the relay over which BEFORE has passed both ways."""

    pair: Pair
    lines: Lines
    client: Client
    guest: socket.socket
    machine: Machine
    end: ResumableEnd

    def cut_the_guests_side(self) -> None:
        """The guest sees the end of its connection; the share's end of it stays as it was."""
        line = self.lines.all[0]
        line.up.tells_the_end = False
        line.down.sink.shutdown(socket.SHUT_RDWR)

    async def goes_on(self) -> None:
        """AFTER passes both ways, and the stream ends well."""
        loop = asyncio.get_running_loop()
        held = len(self.machine.received)
        await loop.sock_sendall(self.guest, AFTER)
        self.guest.shutdown(socket.SHUT_WR)
        await until(lambda: "eof" in self.machine.ended)
        assert bytes(self.machine.received[held:]) == AFTER
        self.machine.transport.write(AFTER)
        self.machine.transport.close()
        received = b""
        while data := await loop.sock_recv(self.guest, 65_536):
            received += data
        assert received == AFTER
        assert self.machine.ended == ["eof", "clean"]


@contextlib.asynccontextmanager
async def scene() -> AsyncIterator[Scene]:
    instances.clear()
    async with share_pair() as pair, tcp_service(Machine) as port:
        lines = Lines(pair.port)
        async with (
            relay(lines.serve) as attacker,
            Client(attacker.dial, pair.identity(), NAME, min_idle=0) as client,
        ):
            sock, task = await socket_to(client, port)
            await until(lambda: instances)
            (machine,), (end,) = instances, client._resumable
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(sock, BEFORE)
            await until(lambda: machine.received == BEFORE)
            machine.transport.write(BEFORE)
            received = b""
            while len(received) < len(BEFORE):
                received += await loop.sock_recv(sock, 65_536)
            assert received == BEFORE
            try:
                yield Scene(pair, lines, client, sock, machine, end)
            finally:
                sock.close()
                task.cancel()
                await asyncio.wait([task])


def test_the_old_connections_bytes_come_after_the_new_ones() -> None:
    """It held them back, let the guest go on in another connection, and delivers them then."""

    async def main() -> None:
        async with scene() as made:
            old = made.lines.all[0]
            old.up.hold_after(0)
            await asyncio.get_running_loop().sock_sendall(made.guest, b"held back")
            await until(lambda: old.up.held)
            made.cut_the_guests_side()
            await until(lambda: made.machine.received == BEFORE + b"held back")
            await old.up.deliver_late()
            await made.goes_on()
            assert made.end.generation == 1

    run(main)


def test_the_shares_old_bytes_are_held_and_sent_by_the_new_connection() -> None:
    async def main() -> None:
        async with scene() as made:
            old = made.lines.all[0]
            old.down.hold_after(0)
            made.machine.transport.write(b"held back")
            await until(lambda: old.down.held)
            made.cut_the_guests_side()
            await until(lambda: len(made.lines.all) > 1)
            made.lines.all[1].down.held += old.down.held  # and once more, among the new ones
            await made.lines.all[1].down.deliver_late()
            loop = asyncio.get_running_loop()
            assert await loop.sock_recv(made.guest, 100) == b"held back"
            await made.goes_on()
            assert made.end.generation >= 1

    run(main)


def test_the_resumption_recorded_and_played_again() -> None:
    """Both to the share, while the stream is under way and when it has ended."""

    async def main() -> None:
        async with scene() as made:
            made.cut_the_guests_side()
            await until(lambda: made.end.generation == 1 and made.end.phase is Phase.ATTACHED)
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(made.guest, b"more")
            await until(lambda: made.machine.received == BEFORE + b"more")
            known = len(made.pair.server._connections)

            async def play() -> None:
                sock = await connected(made.pair.port)
                with contextlib.closing(sock), contextlib.suppress(OSError):
                    await loop.sock_sendall(sock, b"".join(made.lines.all[1].up.records))
                    while await loop.sock_recv(sock, 65_536):
                        pass

            await play()
            assert len(made.pair.server._connections) == known
            assert made.machine.received == BEFORE + b"more"
            await made.goes_on()
            await play()
            assert len(instances) == 1
            assert made.end.generation == 1

    run(main)


def test_a_resumption_is_paired_with_another_share() -> None:
    """The guest does not tell that one which stream it is: the stream ends with an error."""

    async def main() -> None:
        async with scene() as made, share_pair() as other:
            made.lines.port = other.port
            made.cut_the_guests_side()
            with pytest.raises(ConnectionResetError):
                await asyncio.get_running_loop().sock_recv(made.guest, 1)
            assert len(made.lines.all) > 1
            assert made.end.generation == 0
            assert not other.server._connections
            assert made.machine.received == BEFORE

    run(main)


def cut_after(line: Line, direction: str, count: int) -> None:
    """Both sides of the line see a reset in place of what comes after `count` records."""
    left = iter(range(count))

    def change(record: bytes) -> bytes:
        if next(left, None) is None:
            line.reset()
            return b""
        return record

    line.leg(direction).change = change


def hold_after(line: Line, direction: str, count: int) -> None:
    """What comes after `count` records never does, and nobody is told."""
    line.leg(direction).hold_after(count)
    line.up.tells_the_end = line.down.tells_the_end = False


# The guest's records: ClientHello, ChangeCipherSpec, its certificate's flight, RESUME; the share's:
# its flight, HELLO, RESUME, what it sends again.
@pytest.mark.parametrize(
    ("attack", "direction", "count"),
    [
        (cut_after, "up", 0),
        (cut_after, "up", 2),
        (cut_after, "up", 3),
        (cut_after, "up", 4),
        (cut_after, "down", 0),
        (cut_after, "down", 7),
        (cut_after, "down", 8),
        (cut_after, "down", 9),
        (hold_after, "up", 3),
        (hold_after, "down", 8),
    ],
)
def test_resumptions_are_broken(
    attack: Callable[[Line, str, int], None],
    direction: str,
    count: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first two, somewhere on their way; those that follow pass."""

    def give_up_after(seconds: float) -> None:
        monkeypatch.setattr(client_module, "RESUME_ANSWER", seconds)
        monkeypatch.setattr(client_module, "HELLO_TIMEOUT", seconds)
        assert tls_socket.handshake.__kwdefaults__ is not None
        monkeypatch.setitem(tls_socket.handshake.__kwdefaults__, "timeout", seconds)

    async def main() -> None:
        async with scene() as made:

            def prepare(line: Line) -> None:
                if len(made.lines.all) < 3:
                    attack(line, direction, count)
                else:
                    give_up_after(PATIENCE)  # what passes may be slow

            give_up_after(SHORT)
            made.lines.prepare = prepare
            made.cut_the_guests_side()
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(made.guest, b"meanwhile")
            made.machine.transport.write(b"as well")
            received = b""
            while len(received) < len(b"as well"):
                received += await loop.sock_recv(made.guest, 100)
            assert received == b"as well"
            await until(lambda: made.machine.received == BEFORE + b"meanwhile")
            await until(lambda: len(made.lines.all) > 2)
            await made.goes_on()

    run(main)
