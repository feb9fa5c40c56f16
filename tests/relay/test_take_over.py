"""A relay that is left: drained, and taken over from under load."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.commands import end, started, wait_for
from tests.loops import until
from tests.relay.tiny_share import tiny_share
from tests.share_pair import NAME, ROUTE, Pair, share_pair, socket_to, tcp_service
from tunnel.address import RelayAddress, parse_relay
from tunnel.client import Client
from tunnel.dialler import dial
from vshare.relay_link import RelayLink

pytestmark = pytest.mark.programs

SHARES = 3
CLIENTS = 2  # of each kind, for each share
BODY = b"0123456789abcdef" * 64
LONG = 4 << 20  # bytes of an answer that takes its time
PIECE = 64 << 10
WITHIN = 100.0  # seconds, on a busy machine


@dataclass
class Tally:
    """What the clients saw."""

    answers: int = 0
    failures: list[str] = field(default_factory=list)


@contextlib.asynccontextmanager
async def machine() -> AsyncIterator[int]:
    """A web server; its port. `/long` comes in pieces, one at each turn that `/next` makes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if head.startswith(b"GET /long "):
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % LONG)
                    for number in range(LONG // PIECE):
                        writer.write(bytes([number]) * PIECE)
                        await writer.drain()
                        await asyncio.sleep(0.05)  # so that it lasts while others come and go
                else:
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BODY))
                    writer.write(BODY)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def request(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str, path: str = "/"
) -> tuple[bytes, bytes]:
    """The head and the body of an answer."""
    writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(
        int(line.partition(b":")[2])
        for line in head.lower().splitlines()
        if line.startswith(b"content-length:")
    )
    return head, await reader.readexactly(length)


async def keep_asking(port: int, host: str, tally: Tally, stop: asyncio.Event) -> None:
    """Connect anew where an answer says so, and never try anything again."""
    writer: asyncio.StreamWriter | None = None
    while not stop.is_set():
        try:
            if writer is None:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
            head, body = await request(reader, writer, host)
            if not head.startswith(b"HTTP/1.1 200 ") or body != BODY:
                tally.failures.append(f"{host}: {head!r} {body[:300]!r}")
            tally.answers += 1
            if b"connection: close" in head.lower():
                writer.close()
                writer = None
        except (OSError, EOFError, asyncio.LimitOverrunError) as error:
            tally.failures.append(f"{host}: {error!r}")
            if writer is not None:
                writer.close()
                writer = None
        await asyncio.sleep(0.05)
    if writer is not None:
        writer.close()


async def ask_each_time(port: int, host: str, tally: Tally, stop: asyncio.Event) -> None:
    """A connection for each request."""
    while not stop.is_set():
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            head, body = await request(reader, writer, host)
            writer.close()
            if not head.startswith(b"HTTP/1.1 200 ") or body != BODY:
                tally.failures.append(f"{host}: {head!r} {body[:300]!r}")
            tally.answers += 1
        except (OSError, EOFError) as error:
            tally.failures.append(f"{host}: {error!r}")
        await asyncio.sleep(0.05)


async def download(port: int, host: str) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    _, body = await request(reader, writer, host, "/long")
    writer.close()
    return hashlib.sha256(body).hexdigest()


LONG_HASH = hashlib.sha256(b"".join(bytes([n]) * PIECE for n in range(LONG // PIECE))).hexdigest()


def serving(folder: Path, *options: str) -> list[str]:
    where = ["--listen", "127.0.0.1:0", "--state-dir", str(folder), "--drain", "60"]
    return ["serve", *where, *options]


async def answered(tally: Tally, more: int) -> None:
    """So many more answers have come."""
    wanted = tally.answers + more
    await until(lambda: tally.answers >= wanted or len(tally.failures) > 20)


@pytest.mark.parametrize("how", ["command", "signal"])
def test_another_process_takes_over_under_load(tmp_path: Path, how: str) -> None:
    with started("relay.cli", *serving(tmp_path)) as old:
        (line,) = wait_for(old, "relay address", on_stdout=True)
        address = parse_relay(line.partition("relay address: ")[2].strip())

        async def main() -> None:
            tally, stop = Tally(), asyncio.Event()
            async with contextlib.AsyncExitStack() as stack:
                port = await stack.enter_async_context(machine())
                links = [
                    await stack.enter_async_context(tiny_share(address, port, name=f"share-{n}"))
                    for n in range(SHARES)
                ]
                hosts = [f"share-{n}.localhost:{address.port}" for n in range(SHARES)]
                group = await stack.enter_async_context(asyncio.TaskGroup())
                for host in hosts:
                    for _ in range(CLIENTS):
                        group.create_task(keep_asking(address.port, host, tally, stop))
                        group.create_task(ask_each_time(address.port, host, tally, stop))
                long = group.create_task(download(address.port, hosts[0]))
                await answered(tally, 50)
                await take_over()
                await until(lambda: all(link.connected.is_set() for link in links))
                await answered(tally, 100)
                assert await long == LONG_HASH
                await until(lambda: old.poll() is not None)  # told to, all have left it
                await answered(tally, 20)
                stop.set()
            assert not tally.failures, (len(tally.failures), tally.answers, tally.failures[:10])

        async def take_over() -> None:
            if how == "signal":
                old.send_signal(signal.SIGUSR2)
            else:
                arguments = serving(tmp_path, "--take-over")
                new.append(new_stack.enter_context(started("relay.cli", *arguments)))
            said = await asyncio.to_thread(wait_for, old, "has taken over")
            if how == "signal":
                found = re.search(r"process (\d+)", "".join(said))
                assert found is not None
                new_stack.enter_context(contextlib.suppress(ProcessLookupError))
                new_stack.callback(os.kill, int(found[1]), signal.SIGTERM)

        async def bounded() -> None:
            try:
                async with asyncio.timeout(WITHIN):
                    await main()
            finally:
                if sys.exc_info()[0] is not None:
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(old.pid, signal.SIGKILL)  # a thread may be reading from it

        new: list[subprocess.Popen[str]] = []
        with contextlib.ExitStack() as new_stack:
            asyncio.run(bounded())
            assert old.wait(WITHIN) == 0
            if new:
                assert end(new[0], signal.SIGTERM).code == 0


def test_a_guests_stream_goes_on_in_the_old_process_and_then_in_the_new_one(tmp_path: Path) -> None:
    arguments = [*serving(tmp_path), "--drain", "3"]
    with started("relay.cli", *arguments) as old, contextlib.ExitStack() as stack:
        (line,) = wait_for(old, "relay address", on_stdout=True)
        address = parse_relay(line.partition("relay address: ")[2].strip())

        async def main() -> None:
            loop = asyncio.get_running_loop()
            async with (
                share_pair() as pair,
                tcp_service() as port,
                guest_of(pair, address) as guest,
            ):
                sock, task = await socket_to(guest, port)
                data, echoed = os.urandom(PIECE), hashlib.sha256()
                count = 0

                async def send_and_receive() -> None:
                    nonlocal count
                    await loop.sock_sendall(sock, data)
                    left = len(data)
                    while left:
                        piece = await loop.sock_recv(sock, left)
                        assert piece
                        echoed.update(piece)
                        left -= len(piece)
                    count += 1

                await send_and_receive()
                new = stack.enter_context(started("relay.cli", *arguments, "--take-over"))
                await asyncio.to_thread(wait_for, new, "relay address", on_stdout=True)
                assert old.poll() is None  # it has the stream, for its drain
                while old.poll() is None:
                    await send_and_receive()
                for _ in range(20):
                    await send_and_receive()
                assert echoed.digest() == hashlib.sha256(data * count).digest()
                sock.close()
                with contextlib.suppress(Exception):
                    await task
                assert end(new, signal.SIGINT).code == 0

        asyncio.run(asyncio.wait_for(main(), WITHIN))
        assert old.returncode == 0


@contextlib.asynccontextmanager
async def guest_of(pair: Pair, relay: RelayAddress) -> AsyncIterator[Client]:
    """A guest of a share that is at the relay."""
    link = RelayLink(
        relay,
        Ed25519PrivateKey.generate(),
        NAME,
        on_visitor=lambda sock, paired: pair.server.visitor(sock, paired.address),
        expires_at=time.time() + 3600,
        route=ROUTE,
    )

    async def dial_it() -> socket.socket:
        return await dial("127.0.0.1", relay.port, 5)

    async with link, Client(dial_it, pair.identity(), NAME, route=ROUTE) as guest:
        yield guest


def test_a_drain_ends_when_the_last_request_is_answered(tmp_path: Path) -> None:
    """And who asks for nothing is not waited for."""
    with started("relay.cli", *serving(tmp_path)) as relay:
        (line,) = wait_for(relay, "relay address", on_stdout=True)
        address = parse_relay(line.partition("relay address: ")[2].strip())

        async def main() -> None:
            async with machine() as port, tiny_share(address, port, name="one-share") as link:
                host = f"one-share.localhost:{address.port}"
                idle, idler = await asyncio.open_connection("127.0.0.1", address.port)
                await request(idle, idler, host)
                reader, writer = await asyncio.open_connection("127.0.0.1", address.port)
                writer.write(f"GET /long HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
                await reader.readuntil(b"\r\n\r\n")
                relay.send_signal(signal.SIGTERM)
                assert await idle.read() == b""
                await until(lambda: not link.connected.is_set())
                with pytest.raises(ConnectionRefusedError):
                    await asyncio.open_connection("127.0.0.1", address.port)
                assert hashlib.sha256(await reader.readexactly(LONG)).hexdigest() == LONG_HASH
                idler.close()
                writer.close()
                assert await asyncio.to_thread(relay.wait, WITHIN) == 0

        asyncio.run(asyncio.wait_for(main(), WITHIN))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_drain_can_be_cut_short(tmp_path: Path, number: int) -> None:
    with started("relay.cli", *serving(tmp_path, "--json")) as relay:
        (line,) = wait_for(relay, "serving", on_stdout=True)
        port = parse_relay(json.loads(line)["relay"]).port
        with socket.create_connection(("127.0.0.1", port)) as visitor:
            visitor.send(b"GET")  # the rest of which is waited for, for some seconds
            relay.send_signal(signal.SIGTERM)
            wait_for(relay, "draining", on_stdout=True)
            assert end(relay, number, within=4).code == 0


def test_a_process_that_cannot_start_changes_nothing(tmp_path: Path) -> None:
    """Nor does a relay that does not run keep one from starting."""
    with started("relay.cli", *serving(tmp_path, "--take-over")) as relay:
        (line,) = wait_for(relay, "relay address", on_stdout=True)
        address = parse_relay(line.partition("relay address: ")[2].strip())
        wrong = [*serving(tmp_path, "--take-over"), "--listen", "192.0.2.1:0"]
        with started("relay.cli", *wrong) as other:
            assert other.wait(WITHIN) == 1
        with socket.create_connection(("127.0.0.1", address.port)) as visitor:
            visitor.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert visitor.recv(8) == b"HTTP/1.1"
        assert end(relay, signal.SIGTERM).code == 0
    assert not (tmp_path / "handover.sock").exists()
