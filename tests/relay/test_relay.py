"""The relay's one port, with real sockets on loopback."""

import asyncio
import contextlib
import os
import secrets
import socket
import sqlite3
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from relay import expected, front, gateway
from relay.config import RelayConfig
from relay.limits import Budget
from relay.names import NameBook
from relay.server import Relay
from tests.relay.tiny_share import tiny_share
from tests.tunnel.test_clienthello import made_hello, real_hello, records, sni
from tunnel import peek
from tunnel.address import RelayAddress
from tunnel.names import ShareName
from tunnel.parking import Message, Paired, Type, serialize
from vshare.refusals import RejectedError
from vshare.relay_link import RelayLink

ROUTE = "0123456789abcdef" * 2
ALERT = b"\x15\x03\x03\x00\x02\x02"


def run(main: Callable[[], Coroutine[None, None, None]]) -> None:
    asyncio.run(asyncio.wait_for(main(), 30))


async def connect(port: int, data: bytes = b"") -> socket.socket:
    sock = socket.socket()
    sock.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(sock, ("127.0.0.1", port))
    await loop.sock_sendall(sock, data)
    return sock


async def receive_all(sock: socket.socket) -> bytes:
    data = b""
    with contextlib.suppress(ConnectionResetError):
        while part := await asyncio.get_running_loop().sock_recv(sock, 65_536):
            data += part
    return data


class Collected:
    """A link whose visitors are collected."""

    def __init__(self) -> None:
        self.visitors: asyncio.Queue[tuple[socket.socket, Paired]] = asyncio.Queue()

    def link(
        self,
        relay: RelayAddress,
        *,
        key: Ed25519PrivateKey | None = None,
        name: str | None = None,
        route: str | None = None,
    ) -> RelayLink:
        return RelayLink(
            relay,
            key or Ed25519PrivateKey.generate(),
            ShareName(name) if name else None,
            on_visitor=lambda sock, paired: self.visitors.put_nowait((sock, paired)),
            expires_at=time.time() + 3600,
            route=route or secrets.token_hex(16),
        )


def test_a_visitor_is_paired_and_spliced_blind() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        shares = Collected()
        async with Relay(RelayConfig()) as relay, shares.link(relay.address) as link:
            hello = real_hello(f"{link.route}.whatever.invalid", "vshare/1")
            with await connect(relay.port, hello + b"and more") as visitor:
                sock, paired = await shares.visitors.get()
                with sock:
                    assert paired == Paired("visitor", "127.0.0.1")
                    assert await loop.sock_recv(sock, 65_536) == hello + b"and more"
                    await loop.sock_sendall(sock, b"answer")
                    assert await loop.sock_recv(visitor, 100) == b"answer"
                    visitor.shutdown(socket.SHUT_WR)
                    assert await loop.sock_recv(sock, 100) == b""
                    await loop.sock_sendall(sock, b"still open")
                assert await receive_all(visitor) == b"still open"

    run(main)


def test_many_visitors_at_once_make_it_park_more() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        shares = Collected()
        async with Relay(RelayConfig()) as relay, shares.link(relay.address) as link:
            hello = real_hello(f"{link.route}.x", "vshare/1")
            visitors = [await connect(relay.port, hello) for _ in range(100)]
            for _ in visitors:
                sock, _ = await shares.visitors.get()
                assert await loop.sock_recv(sock, 65_536) == hello
                sock.close()
            for visitor in visitors:
                visitor.close()

    run(main)


def test_byte_by_byte() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        shares = Collected()
        async with Relay(RelayConfig()) as relay, shares.link(relay.address) as link:
            message = made_hello(sni(f"{link.route}.x".encode()))
            alpn = b"\0\x10\0\x0b\0\x09\x08vshare/1"
            size = int.from_bytes(message[1:4], "big") + len(alpn)
            at = message.index(sni(f"{link.route}.x".encode())) - 2
            length = int.from_bytes(message[at : at + 2], "big") + len(alpn)
            message = (
                b"\1" + size.to_bytes(3, "big") + message[4:at]
                + length.to_bytes(2, "big") + message[at + 2 :] + alpn
            )  # fmt: skip
            hello = records(message, 7)
            with await connect(relay.port) as visitor:
                visitor.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for number in range(len(hello)):
                    await loop.sock_sendall(visitor, hello[number : number + 1])
                    await asyncio.sleep(0)
                sock, _ = await shares.visitors.get()
                with sock:
                    assert await loop.sock_recv(sock, 65_536) == hello

    run(main)


def test_answers_in_the_visitors_own_protocol() -> None:
    async def main() -> None:
        async with Relay(RelayConfig()) as relay:
            for alpn in ("vshare/1", "unknown/1"):
                with await connect(relay.port, real_hello("no-such-name.x", alpn)) as visitor:
                    assert await receive_all(visitor) == ALERT + bytes([112])
            head = b"GET / HTTP/1.1\r\nHost: no-such-name.localhost\r\nConnection: close\r\n\r\n"
            with await connect(relay.port, head) as visitor:
                answer = await receive_all(visitor)
                assert answer.startswith(b"HTTP/1.1 404 ")
                assert b"no-such-name" in answer
            head = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
            with await connect(relay.port, head) as visitor:
                answer = await receive_all(visitor)
                assert answer.startswith(b"HTTP/1.1 200 ")
                assert b"A vshare relay" in answer

    run(main)


def test_own_name_over_tls_sends_a_shares_host_away() -> None:
    async def main() -> None:
        async with Relay(RelayConfig()) as relay:
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            for host, status in (("localhost", b"200"), ("some-name.localhost", b"421")):
                reader, writer = await asyncio.open_connection(
                    "127.0.0.1", relay.port, ssl=context, server_hostname="localhost"
                )
                writer.write(f"GET /healthz HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
                assert (await reader.readline()).split()[1] == status
                writer.close()

    run(main)


@pytest.mark.parametrize(
    "data",
    [
        b"\0\1\2\3",
        b"\x16\3\1\0\5hello",
        b"\x16\3\1\x40\0" + bytes(20_000),
        b"G" * 20_000,
        b"\x16\3\1",  # then the end of the stream
        b"GET / HTTP/1.1\r\n",
    ],
)
def test_garbage_is_ended_at_once(data: bytes) -> None:
    async def main() -> None:
        async with Relay(RelayConfig()) as relay:
            with await connect(relay.port, data) as visitor:
                visitor.shutdown(socket.SHUT_WR)
                assert await receive_all(visitor) == b""

    run(main)


def test_a_slow_first_byte_costs_no_cpu_and_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(front, "HEAD_DEADLINE", 0.5)
    assert peek.HEAD_DEADLINE == 5.0

    async def main() -> None:
        async with Relay(RelayConfig()) as relay:
            hello = real_hello("frosty-weasel-0857.x", "vshare/1")
            starts = (b"", hello[:3], hello[:-1], b"GET / HT", b"GET / HTTP/1.1\r\nHost: a\r\n")
            visitors = [await connect(relay.port, start) for start in starts]
            before = time.process_time()
            for visitor in visitors:
                with visitor:
                    assert await receive_all(visitor) == b""
            assert time.process_time() - before < 0.2

    run(main)


def test_a_slow_head_over_tls_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway, "HANDSHAKE_WITHIN", 1.0)
    monkeypatch.setattr("relay.asgi.FIRST_REQUEST_WITHIN", 0.3)
    monkeypatch.setattr("relay.quick_path.FIRST_REQUEST_WITHIN", 0.3)

    async def main() -> None:
        async with Relay(RelayConfig()) as relay:
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            for name in ("localhost", "frosty-weasel-0857.localhost"):
                reader, writer = await asyncio.open_connection(
                    "127.0.0.1", relay.port, ssl=context, server_hostname=name
                )
                writer.write(b"GET / HT")
                with contextlib.suppress(ConnectionResetError):
                    assert await reader.read() == b""
                writer.close()

    run(main)


def test_strangers_who_try_codes_leave_some_parked_for_guests(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("relay.join_limits.SPACING", 0.0)  # all five want one now

    async def main() -> None:
        shares = Collected()
        async with Relay(RelayConfig()) as relay, shares.link(relay.address) as link:
            share = relay.registry.get(ShareName(link.registered.name))
            assert share is not None
            while len(share.lot) < 4:  # noqa: ASYNC110 - the lot tells nobody
                await asyncio.sleep(0.01)
            share.lot._asked = 1_000  # it asks for no more from here on
            hello = real_hello(f"{link.registered.name}.x", "vshare-join/1")
            visitors = [await connect(relay.port, hello) for _ in range(5)]
            for _ in range(3):
                (await shares.visitors.get())[0].close()
            while len(share.lot._joins) + shares.visitors.qsize() < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            guest = real_hello(f"{link.route}.x", "vshare/1")
            with await connect(relay.port, guest):
                sock, _ = await shares.visitors.get()
                with sock:
                    assert await asyncio.get_running_loop().sock_recv(sock, 9_999) == guest
            assert shares.visitors.empty()
            for visitor in visitors:
                visitor.close()

    run(main)


def test_a_share_that_does_not_park_is_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relay.lot.TAKE_WITHIN", 0.2)

    async def main() -> None:
        shares = Collected()
        async with Relay(RelayConfig()) as relay, shares.link(relay.address) as link:
            share = relay.registry.get(ShareName(link.registered.name))
            assert share is not None
            share.lot.close()
            hello = real_hello(f"{link.route}.x", "vshare/1")
            with await connect(relay.port, hello) as visitor:
                assert await receive_all(visitor) == ALERT + bytes([80])

    run(main)


def test_a_share_that_is_away_is_told_from_one_that_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expected, "EXPECT_FOR", 0.0)

    async def answers(port: int) -> tuple[bytes, bytes]:
        with await connect(port, real_hello(f"{ROUTE}.x", "vshare/1")) as visitor:
            alert = await receive_all(visitor)
        head = b"GET / HTTP/1.1\r\nHost: goes-away.localhost\r\nConnection: close\r\n\r\n"
        with await connect(port, head) as visitor:
            return alert, await receive_all(visitor)

    async def main() -> None:
        key, shares = Ed25519PrivateKey.generate(), Collected()
        config = RelayConfig(state_dir=tmp_path)
        async with Relay(config) as first:
            config = RelayConfig(state_dir=tmp_path, port=first.port)
            link = shares.link(first.address, key=key, name="goes-away", route=ROUTE)
            await link.__aenter__()
        # The relay is back before the share is, and knows of it.
        async with Relay(config) as relay:
            alert, page = await answers(relay.port)
            assert alert == ALERT + bytes([80])
            assert page.startswith(b"HTTP/1.1 503 ")
            assert b"The computer that shares goes-away is away" in page
            async with asyncio.timeout(5):
                await link.connected.wait()
            await link.__aexit__(None, None, None)
            while relay.registry.get(ShareName("goes-away")):  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.01)
            alert, page = await answers(relay.port)
            assert alert == ALERT + bytes([112])
            assert page.startswith(b"HTTP/1.1 410 ")

    run(main)


def test_guests_dial_by_route_and_nobody_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expected, "EXPECT_FOR", 0.0)

    async def alert(port: int, label: str) -> bytes:
        with await connect(port, real_hello(f"{label}.x", "vshare/1")) as visitor:
            return await receive_all(visitor)

    async def main() -> None:
        key, shares = Ed25519PrivateKey.generate(), Collected()
        config = RelayConfig(state_dir=tmp_path)
        async with Relay(config) as first:
            port = first.port
            link = shares.link(first.address, key=key, name="goes-away", route=ROUTE)
            await link.__aenter__()
            hello = real_hello(f"{ROUTE}.x", "vshare/1")
            with await connect(port, hello):
                sock, _ = await shares.visitors.get()
                with sock:
                    assert await asyncio.get_running_loop().sock_recv(sock, 9_999) == hello
            assert await alert(port, "goes-away") == ALERT + bytes([112])
        async with Relay(RelayConfig(state_dir=tmp_path, port=port)) as relay:
            # away: those who were told the route learn it, and nobody else
            assert await alert(port, ROUTE) == ALERT + bytes([80])
            assert await alert(port, "goes-away") == ALERT + bytes([112])
            assert await alert(port, "f" * 32) == ALERT + bytes([112])
            async with asyncio.timeout(5):
                await link.connected.wait()
            await link.__aexit__(None, None, None)
            while relay.registry.get(ShareName("goes-away")):  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.01)
            assert await alert(port, ROUTE) == ALERT + bytes([112])

    run(main)


def test_names_of_long_ago_are_forgotten_at_the_start(tmp_path: Path) -> None:
    path = tmp_path / "names.sqlite"
    old = ShareName("long-ago")
    with NameBook(path) as names:
        names.claim(old, b"one", 0.0, 1.0)

    async def main() -> None:
        async with Relay(RelayConfig(state_dir=tmp_path)) as relay:
            with await connect(relay.port, b"GET / HTTP/1.0\r\n\r\n") as visitor:
                await receive_all(visitor)

    run(main)
    with contextlib.closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT count(*) FROM names").fetchone() == (0,)


def test_the_limit_per_share(monkeypatch: pytest.MonkeyPatch) -> None:
    budget = Budget(connections=100, pipes=4, undecided=50, per_source=50, per_share=2)
    monkeypatch.setattr("relay.server.budget_for", lambda descriptors: budget)

    async def main() -> None:
        shares = Collected()
        async with Relay(RelayConfig()) as relay, shares.link(relay.address) as link:
            hello = real_hello(f"{link.route}.x", "vshare/1")
            held = []
            for _ in range(2):
                held.append(await connect(relay.port, hello))
                held.append((await shares.visitors.get())[0])
            with await connect(relay.port, hello) as visitor:
                assert await receive_all(visitor) == ALERT + bytes([49])
            for sock in held:
                sock.close()

    run(main)


def test_a_ticket_is_good_once_and_only_here() -> None:
    async def main() -> None:
        async with Relay(RelayConfig()) as relay:
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            context.set_alpn_protocols(["vshare-park/1"])
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", relay.port, ssl=context, server_hostname="localhost"
            )
            writer.write(serialize(Message(Type.PARK, bytes(32))))
            assert (await reader.readexactly(1))[0] == Type.NOT_PARKED
            writer.close()

    run(main)


def test_a_dead_parked_connection_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tunnel.parking.PING_EVERY", 0.05)
    monkeypatch.setattr("tunnel.parking.PONG_WITHIN", 0.2)

    async def main() -> None:
        shares = Collected()
        async with Relay(RelayConfig()) as relay, shares.link(relay.address) as link:
            share = relay.registry.get(ShareName(link.registered.name))
            assert share is not None
            await asyncio.sleep(0.5)  # several PINGs are answered
            assert len(share.lot) == 4
            parked = next(iter(share.lot._ready or share.lot._awaiting))
            parked._gone()
            while len(share.lot) < 4:  # noqa: ASYNC110 - the lot tells nobody
                await asyncio.sleep(0.01)
            hello = real_hello(f"{link.route}.x", "vshare/1")
            for _ in range(5):
                with await connect(relay.port, hello):
                    sock, _ = await shares.visitors.get()
                    with sock:
                        assert await asyncio.get_running_loop().sock_recv(sock, 9999) == hello

    run(main)


def test_names_belong_to_keys_across_a_restart(tmp_path: Path) -> None:
    async def main() -> None:
        mine, theirs = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
        shares = Collected()
        config = RelayConfig(state_dir=tmp_path)
        fingerprints = set()
        for _ in range(2):
            async with Relay(config) as relay:
                fingerprints.add(relay.fingerprint)
                async with shares.link(relay.address, key=mine, name="my-own-name") as link:
                    assert link.registered.name == "my-own-name"
                with pytest.raises(RejectedError) as info:
                    async with shares.link(relay.address, key=theirs, name="my-own-name"):
                        pass
                assert info.value.code == "name-taken"
                assert "--name" in info.value.hint
        assert len(fingerprints) == 1
        assert (tmp_path / "relay.key").stat().st_mode & 0o77 == 0

    run(main)


def test_the_same_key_evicts_its_ghost() -> None:
    async def main() -> None:
        key = Ed25519PrivateKey.generate()
        first, second = Collected(), Collected()
        async with (
            Relay(RelayConfig()) as relay,
            first.link(relay.address, key=key, name="the-name", route=ROUTE) as ghost,
            second.link(relay.address, key=key, name="the-name", route=ROUTE),
        ):
            assert (await ghost.ended).code == "evicted"
            with await connect(relay.port, real_hello(f"{ROUTE}.x", "vshare/1")):
                (await second.visitors.get())[0].close()

    run(main)


def test_nothing_is_left_open() -> None:
    async def main() -> None:
        async with Relay(RelayConfig()) as relay, tiny_share(relay.address, None) as link:
            hello = real_hello(f"{link.route}.x", "vshare/1")
            visitors = [await connect(relay.port, hello) for _ in range(10)]
            for visitor in visitors:
                await asyncio.get_running_loop().sock_recv(visitor, 1)
                visitor.close()

    run(main)
    before = sorted(os.listdir("/proc/self/fd"))
    run(main)
    assert sorted(os.listdir("/proc/self/fd")) == before


FEW_FILES = """
import asyncio, os, resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
from relay.config import RelayConfig
from relay.server import Relay
async def main() -> None:
    async with Relay(RelayConfig()) as relay:
        if os.getuid() == 0:  # not before: only root may be able to read what it imports
            os.setgroups([]); os.setgid(65534); os.setuid(65534)
        print(relay.address, flush=True)
        await asyncio.to_thread(sys.stdin.read)
asyncio.run(main())
"""


@pytest.mark.programs
def test_an_ordinary_user_with_few_files_still_serves() -> None:
    relay = subprocess.Popen(
        [sys.executable, "-c", FEW_FILES], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert relay.stdin is not None
    assert relay.stdout is not None
    try:
        place, _, pin = relay.stdout.readline().strip().partition("#")
        port = int(place.rpartition(":")[2])

        async def main() -> None:
            loop = asyncio.get_running_loop()
            shares = Collected()
            async with shares.link(RelayAddress("127.0.0.1", port, pin)) as link:
                idlers = [await connect(port) for _ in range(300)]  # more than it can hold
                for sock in idlers:
                    sock.close()
                hello = real_hello(f"{link.route}.x", "vshare/1")
                data = os.urandom(1 << 20)
                for _ in range(20):
                    with await connect(port, hello) as visitor:
                        sock, _ = await shares.visitors.get()
                        with sock:
                            assert await loop.sock_recv(sock, 9999) == hello
                            async with asyncio.TaskGroup() as group:
                                group.create_task(loop.sock_sendall(sock, data))
                                got = 0
                                while got < len(data):
                                    got += len(await loop.sock_recv(visitor, 1 << 20))

        run(main)
        assert relay.poll() is None
    finally:
        relay.stdin.close()
        assert relay.wait(10) == 0
        relay.stdout.close()


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_the_address_to_give_away_when_listening_everywhere(host: str) -> None:
    async def main() -> None:
        config = RelayConfig(host=host, domain="relay.example.org")
        async with Relay(config) as relay:
            assert relay.address.host == "relay.example.org"
            reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: relay.example.org\r\n\r\n")
            assert (await reader.readline()).startswith(b"HTTP/1.1 200")
            writer.close()
            await writer.wait_closed()

    asyncio.run(main())
