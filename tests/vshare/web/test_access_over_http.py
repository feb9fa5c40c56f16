"""The rules that keep visitors out, behind a real relay and its gateway."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import InvalidStatus

from relay.config import RelayConfig
from relay.server import Relay
from tests.loops import run
from tests.relay.tiny_share import tiny_share
from tests.vshare.web.requests import Clock
from vshare.web.access import Addresses, BasicAuth
from vshare.web.access_setup import parse_network
from vshare.web.cookies import Cookies
from vshare.web.passcode import Passcode
from vshare.web.rules import Rule
from vshare.web.tries import Tries

CODE = "k7mq-2xdp"
LOGIN = "Authorization: Basic YWRhOmNvcnJlY3QgaG9yc2U=\r\n"  # ada:correct horse
FORM = f"passcode={CODE}&to=%2Fafter%3Fb"


@dataclass
class Website:
    """Answers every request with "hello", and keeps what it was asked."""

    asked: list[str] = field(default_factory=list)
    connections: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                self.asked.append((await reader.readuntil(b"\r\n\r\n")).decode())
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
        writer.close()


class Visitor:
    """A connection to the relay; several requests go over it."""

    def __init__(self, port: int, name: str) -> None:
        self._port, self._host = port, f"{name}.localhost"
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, first: str, fields: str = "", body: bytes = b"") -> tuple[str, str]:
        """Head and body of the answer."""
        if self._streams is None or self._streams[0].at_eof():
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        length = f"Content-Length: {len(body)}\r\n" if body else ""
        head = f"{first} HTTP/1.1\r\nHost: {self._host}\r\n{fields}{length}\r\n"
        writer.write(head.encode() + body)
        answer = (await reader.readuntil(b"\r\n\r\n")).decode()
        lines = dict(line.lower().split(": ", 1) for line in answer.split("\r\n")[1:-2])
        said = (await reader.readexactly(int(lines["content-length"]))).decode()
        if lines.get("connection") == "close":
            self.close()
        return answer, said

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


@contextlib.asynccontextmanager
async def visited(folder: Path, rules: Sequence[Rule]) -> AsyncIterator[tuple[Visitor, Website]]:
    """A visitor of a website that `rules` stand before."""
    website = Website()
    server = await asyncio.start_server(website.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with (
        server,
        Relay(RelayConfig(state_dir=folder)) as relay,
        tiny_share(relay.address, port, rules=rules) as link,
    ):
        visitor = Visitor(relay.port, link.registered.name)
        yield visitor, website
        visitor.close()
        await asyncio.sleep(0)


def passcode() -> Passcode:
    clock = Clock()
    return Passcode(CODE, Cookies(b"vshare", b"k" * 32, clock), Tries(clock))


def test_user_and_password(tmp_path: Path) -> None:
    async def main() -> None:
        rule = BasicAuth("ada", "correct horse", "frosty-weasel-0857", Tries(Clock()))
        async with visited(tmp_path, [rule]) as (visitor, website):
            head, _ = await visitor.ask("GET /")
            assert head.startswith("HTTP/1.1 401 ")
            assert "basic realm=" in head.lower()
            head, _ = await visitor.ask("POST /", body=b"x" * 100_000)
            assert head.startswith("HTTP/1.1 401 ")
            assert website.connections == 0
            for _ in range(2):
                assert (await visitor.ask("GET /", LOGIN))[1] == "hello"
            assert website.connections == 1
            assert len(website.asked) == 2
            assert "authorization" not in "".join(website.asked).lower()

    run(main)


def test_a_passcode(tmp_path: Path) -> None:
    async def main() -> None:
        async with visited(tmp_path, [passcode()]) as (visitor, website):
            head, page = await visitor.ask("GET /a?b", "Accept: text/html\r\n")
            assert head.startswith("HTTP/1.1 403 ")
            assert 'name="to" value="/a?b"' in page
            kind = "Content-Type: application/x-www-form-urlencoded\r\n"
            head, _ = await visitor.ask("POST /.vshare/passcode", kind, FORM.encode())
            assert head.startswith("HTTP/1.1 303 ")
            assert "location: /after?b\r\n" in head.lower()
            assert website.connections == 0
            cookie = head.partition("vshare=")[2].partition(";")[0]
            head, body = await visitor.ask("GET /after?b", f"Cookie: a=b; vshare={cookie}\r\n")
            assert body == "hello"
            assert "Cookie: a=b\r\n" in website.asked[0]
            assert (await visitor.ask("GET /", f"X-Vshare-Passcode: {CODE}\r\n"))[1] == "hello"
            assert CODE not in "".join(website.asked)

    run(main)


def test_addresses(tmp_path: Path) -> None:
    """The visitor's own words about where it comes from do not count."""

    async def main() -> None:
        rule = Addresses([parse_network("10.0.0.0/8")], [])
        async with visited(tmp_path, [rule]) as (visitor, website):
            claims = "X-Forwarded-For: 10.0.0.1\r\nForwarded: for=10.0.0.1\r\n"
            head, page = await visitor.ask("GET /", claims)
            assert head.startswith("HTTP/1.1 403 ")
            assert "You come from 127.0.0.1." in page
            assert website.connections == 0

    run(main)


async def _echo(connection: ServerConnection) -> None:
    async for message in connection:
        await connection.send(message)


def test_a_websocket(tmp_path: Path) -> None:
    async def main() -> None:
        async with (
            serve(_echo, "127.0.0.1", 0) as server,
            Relay(RelayConfig(state_dir=tmp_path)) as relay,
        ):
            port = next(iter(server.sockets)).getsockname()[1]
            async with tiny_share(relay.address, port, rules=[passcode()]) as link:
                url = f"ws://{link.registered.name}.localhost:{relay.port}/"
                here, there = "127.0.0.1", relay.port
                with pytest.raises(InvalidStatus, match="403"):
                    await connect(url, proxy=None, host=here, port=there)
                fields = {"X-Vshare-Passcode": CODE}
                async with connect(
                    url, proxy=None, host=here, port=there, additional_headers=fields
                ) as socket:
                    await socket.send("hello")
                    assert await socket.recv() == "hello"

    run(main)
