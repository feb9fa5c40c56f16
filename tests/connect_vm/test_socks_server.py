from __future__ import annotations

import asyncio
import contextlib
import os
import socket

import pytest
import socks as pysocks

from connect_vm import socks_asking, socks_server
from connect_vm.socks_server import SocksServer
from tests.connect_vm.socks_harness import (
    NAME,
    Run,
    client,
    connect_request,
    curl,
    echo,
    http,
    in_thread,
    reverse_at_eof,
    run,
    service,
    serving,
)
from tunnel.errors import UsageError

__all__ = ["run"]  # the fixture


def test_curl(run: Run) -> None:
    async def main() -> None:
        async with serving() as (server, opener), service(http) as port:
            proxy = "{}:{}".format(*server.address)
            for host in (NAME, "web01", f"{NAME}.example.com", "127.0.0.1", "[::1]"):
                url = f"http://{host}:{port}/"
                assert await curl("--socks5-hostname", proxy, url) == (0, "hello\n")
            assert await curl("--socks5", proxy, f"http://127.0.0.1:{port}/") == (0, "hello\n")
            assert opener.asked == [("", port)] * 6

    run(main())


def test_refusals_that_curl_understands(run: Run) -> None:
    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as closed:
            free_port = closed.getsockname()[1]
        async with serving() as (server, _):
            proxy = "{}:{}".format(*server.address)
            for url, reply in (
                (f"http://{NAME}:{free_port}/", 5),
                ("http://other.example/", 2),
                ("http://gone.example/", 3),
            ):
                status, output = await curl("--socks5-hostname", proxy, url)
                assert (status, f"({reply})" in output) == (97, True), output
            status, output = await curl("--socks4", proxy, f"http://127.0.0.1:{free_port}/")
            assert (status, "91" in output) == (97, True), output
            status, output = await curl(f"http://{proxy}/")
            assert (status, "this is a SOCKS5 address" in output) == (0, True)

    run(main())


def test_early_data_and_half_close(run: Run) -> None:
    async def main() -> None:
        async with serving() as (server, _), service(reverse_at_eof) as port:
            async with client(server) as (reader, writer):
                payload = os.urandom(1_000_000)
                writer.write(connect_request(NAME.encode(), port) + payload)
                writer.write_eof()
                answer = await reader.read(-1)
            assert answer[:2] == b"\x05\x00"
            assert answer[2:12] == b"\x05\x00\x00\x01" + bytes(6)
            assert answer[12:] == payload[::-1]

    run(main())


def test_a_request_byte_by_byte(run: Run) -> None:
    async def main() -> None:
        async with serving() as (server, _), service(echo) as port:
            sock = socket.socket()
            with sock:
                sock.setblocking(False)
                loop = asyncio.get_running_loop()
                await loop.sock_connect(sock, server.address)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for byte in connect_request(b"web01", port) + b"x":
                    await loop.sock_sendall(sock, bytes((byte,)))
                received = b""
                while len(received) < 13:
                    received += await loop.sock_recv(sock, 100)
                assert received[12:] == b"x"

    run(main())


def test_bind_and_an_empty_name_are_refused(run: Run) -> None:
    async def main() -> None:
        async with serving() as (server, opener):
            for request, reply in (
                (b"\x05\x02\x00\x01" + bytes(6), 7),
                (b"\x05\x01\x00\x03\x00\x00\x50", 4),
                (b"\x05\x01\x00\x03\x05web01\x00\x00", 5),
            ):
                async with client(server) as (reader, writer):
                    # What follows the request must not reset the answer away.
                    writer.write(b"\x05\x01\x00" + request + b"more" * 1000)
                    writer.write_eof()
                    answer = await reader.read(-1)
                    assert (answer[2:5], len(answer)) == (bytes((5, reply, 0)), 12)
            assert opener.asked == []

    run(main())


def test_authentication_is_not_offered(run: Run) -> None:
    async def main() -> None:
        async with serving() as (server, _), client(server) as (reader, writer):
            writer.write(b"\x05\x01\x02")
            assert await reader.read(-1) == b"\x05\xff"

    run(main())


def test_200_connections_at_once(run: Run) -> None:
    async def main() -> None:
        async def one(number: int) -> None:
            async with client(server) as (reader, writer):
                payload = number.to_bytes(4) * 5_000
                writer.write(connect_request(NAME.encode(), port) + payload)
                await reader.readexactly(12)
                assert await reader.readexactly(len(payload)) == payload

        async with serving() as (server, opener), service(echo) as port:
            async with asyncio.TaskGroup() as group:
                for number in range(200):
                    group.create_task(one(number))
            assert len(opener.asked) == 200

    run(main())


def test_ending_the_server_resets_what_is_open(run: Run) -> None:
    async def main() -> None:
        async with contextlib.AsyncExitStack() as stack:
            async with serving() as (server, _):
                port = await stack.enter_async_context(service(echo))
                silent, _ = await stack.enter_async_context(client(server))
                reader, writer = await stack.enter_async_context(client(server))
                writer.write(connect_request(NAME.encode(), port) + b"x")
                assert (await reader.readexactly(13))[12:] == b"x"
                address = server.address
            with pytest.raises(ConnectionResetError):
                await reader.read(1)
            with contextlib.suppress(ConnectionResetError):
                assert await silent.read(1) == b""
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection(*address)

    run(main())


def test_an_error_of_the_body_comes_out_as_it_is(run: Run) -> None:
    async def main() -> None:
        with pytest.raises(KeyError):
            async with serving():
                raise KeyError("x")

    run(main())


def test_cancelled_from_outside(run: Run) -> None:
    async def main() -> None:
        entered = asyncio.Event()

        async def serve() -> None:
            async with serving() as (server, _), client(server) as (_, writer):
                writer.write(b"\x05\x01\x00")
                entered.set()
                await asyncio.Event().wait()

        async with asyncio.TaskGroup() as group:
            task = group.create_task(serve())
            await entered.wait()
            task.cancel()
        assert task.cancelled()

    run(main())


def test_a_port_in_use_is_named(run: Run) -> None:
    async def main() -> None:
        async with serving() as (server, opener):
            with pytest.raises(UsageError, match=f"port {server.address[1]}: address already"):
                async with SocksServer(opener, port=server.address[1]):
                    pass

    run(main())


def test_a_silent_client_is_dropped(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socks_asking, "HANDSHAKE_SECONDS", 0.05)

    async def main() -> None:
        async with serving() as (server, _), client(server) as (reader, writer):
            writer.write(b"\x05")
            assert await reader.read(-1) == b""

    run(main())


def test_too_many_streams_are_refused(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socks_server, "MAX_STREAMS", 1)

    async def main() -> None:
        async with (
            serving() as (server, _),
            service(echo) as port,
            client(server) as (reader, writer),
        ):
            writer.write(connect_request(b"web01", port))
            assert (await reader.readexactly(12))[3] == 0
            async with client(server) as (other, other_writer):
                other_writer.write(connect_request(b"web01", port))
                assert (await other.readexactly(12))[3] == 1

    run(main())


def test_pysocks_tcp(run: Run) -> None:
    async def main() -> None:
        async with serving() as (server, _), service(echo) as port:

            def talk() -> bytes:
                with pysocks.socksocket() as sock:
                    sock.settimeout(10)
                    sock.set_proxy(pysocks.SOCKS5, *server.address)
                    sock.connect((NAME, port))
                    sock.sendall(b"over TCP")
                    return bytes(sock.recv(100))

            assert await in_thread(talk) == b"over TCP"

    run(main())
