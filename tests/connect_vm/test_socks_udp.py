from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import AsyncIterator
from typing import Any

import pytest
import socks as pysocks

from connect_vm import socks_udp
from connect_vm.socks_server import SocksServer
from tests.connect_vm.socks_harness import (
    NAME,
    Run,
    client,
    eventually,
    in_thread,
    run,
    serving,
    udp_echo,
)

__all__ = ["run"]  # the fixture


def test_pysocks_udp(run: Run) -> None:
    async def main() -> None:
        async with serving() as (server, opener), udp_echo() as port:

            def talk() -> list[bool]:
                with pysocks.socksocket(type=socket.SOCK_DGRAM) as sock:
                    sock.settimeout(10)
                    sock.set_proxy(pysocks.SOCKS5, *server.address)
                    answers = []
                    for payload in (b"one", os.urandom(60_000)):
                        sock.sendto(payload, ("127.0.0.1", port))
                        answer, source = sock.recvfrom(65_535)
                        assert source == ("127.0.0.1", port)
                        answers.append(answer == payload)
                    return answers

            assert await in_thread(talk) == [True, True]
            assert opener.flows_opened == 1

    run(main())


class Association:
    """A SOCKS client's UDP association, by hand."""

    def __init__(self, sock: socket.socket, relay: tuple[str, int]) -> None:
        self.sock = sock
        self.relay = relay

    def send(self, host: bytes, port: int, payload: bytes, fragment: int = 0) -> None:
        header = bytes((0, 0, fragment, 3, len(host))) + host + struct.pack(">H", port)
        self.sock.sendto(header + payload, self.relay)

    async def receive(self, host: bytes) -> bytes:
        data = await asyncio.get_running_loop().run_in_executor(None, self.sock.recv, 65_535)
        assert data[5 : 5 + len(host)] == host
        return data[7 + len(host) :]


@contextlib.asynccontextmanager
async def association(server: SocksServer) -> AsyncIterator[Association]:
    async with client(server) as (reader, writer):
        writer.write(b"\x05\x01\x00\x05\x03\x00\x01" + bytes(6))
        reply = (await reader.readexactly(12))[2:]
        assert reply[:4] == b"\x05\x00\x00\x01"
        relay = socket.inet_ntoa(reply[4:8]), int.from_bytes(reply[8:])
        with socket.socket(type=socket.SOCK_DGRAM) as sock:
            sock.bind(("127.0.0.1", 0))
            sock.settimeout(10)
            yield Association(sock, relay)


def test_udp_drops_what_is_not_the_clients(run: Run) -> None:
    async def main() -> None:
        async with (
            serving() as (server, opener),
            udp_echo() as port,
            association(server) as mine,
        ):
            mine.send(b"web01", port, b"first")
            assert await mine.receive(b"web01") == b"first"
            with socket.socket(type=socket.SOCK_DGRAM) as stranger:
                Association(stranger, mine.relay).send(b"web01", port, b"stranger")
            mine.send(b"web01", port, b"fragment", fragment=1)
            mine.send(b"gone.example", port, b"lost")
            mine.send(b"web01", port, b"last")
            assert await mine.receive(b"web01") == b"last"
            assert opener.asked == [("", port), ("gone.example", port)]

    run(main())


def test_flows_are_capped_and_the_oldest_goes(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socks_udp, "MAX_FLOWS", 2)

    async def main() -> None:
        async with (
            serving() as (server, opener),
            udp_echo() as port,
            association(server) as mine,
        ):
            for host in (b"web01", NAME.encode(), b"web01", b"127.0.0.1", b"web01"):
                mine.send(host, port, host)
                assert await mine.receive(host) == host
                assert len(opener.flows) <= 2
            assert opener.flows_opened == 3

    run(main())


def test_silent_flows_are_closed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socks_udp, "IDLE_SECONDS", 0.3)

    async def main() -> None:
        async with (
            serving() as (server, opener),
            udp_echo() as port,
            association(server) as mine,
        ):
            mine.send(b"web01", port, b"x")
            assert await mine.receive(b"web01") == b"x"
            await eventually(lambda: not opener.flows)
            mine.send(b"web01", port, b"y")
            assert await mine.receive(b"web01") == b"y"
            assert opener.flows_opened == 2

    run(main())


def test_a_refused_flow_is_forgotten(run: Run) -> None:
    async def main() -> None:
        async with serving() as (server, opener):
            async with udp_echo() as port:
                pass
            async with association(server) as mine:
                mine.send(b"web01", port, b"x")
                await eventually(lambda: bool(opener.flows_opened) and not opener.flows)
                async with udp_echo() as second:
                    mine.send(b"web01", second, b"y")
                    assert await mine.receive(b"web01") == b"y"

    run(main())


def test_the_association_ends_with_its_connection(run: Run) -> None:
    async def main() -> None:
        async with serving() as (server, opener), udp_echo() as port:
            async with association(server) as mine:
                mine.send(b"web01", port, b"x")
                assert await mine.receive(b"web01") == b"x"
                assert len(opener.flows) == 1
            await eventually(lambda: not opener.flows)

    run(main())


def test_while_flows_cannot_be_opened_the_oldest_datagrams_go(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socks_udp, "MAX_UNOPENED", 4)

    async def main() -> None:
        async with (
            serving() as (server, opener),
            udp_echo() as port,
            association(server) as mine,
        ):
            asked, may_open, open_flow = asyncio.Event(), asyncio.Event(), opener.open_flow

            async def late(*arguments: Any) -> Any:
                asked.set()
                await may_open.wait()
                return await open_flow(*arguments)

            monkeypatch.setattr(opener, "open_flow", late)
            mine.send(b"web01", port, b"first")
            await asked.wait()
            for number in range(10):
                mine.send(b"web01", port, b"%d" % number)
            await eventually(lambda: server.dropped >= 6)
            may_open.set()
            got = [await mine.receive(b"web01") for _ in range(5)]
            assert got == [b"first", b"6", b"7", b"8", b"9"]
            assert server.dropped == 6

    run(main())
