"""The relay's own pages, and who asks for them slowly."""

from __future__ import annotations

import asyncio

import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from relay import asgi, server
from relay.config import RelayConfig
from relay.server import Relay
from tests.loops import run

ASK = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


async def answer(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
    await reader.readexactly(length)
    return head


@pytest.mark.parametrize(
    "begin",
    [ASK[:-2], b"POST /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n1234"],
    ids=["head", "body"],
)
def test_a_request_that_does_not_come_to_its_end_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, begin: bytes
) -> None:
    async def main() -> None:
        async with Relay(RelayConfig()) as relay:
            reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
            monkeypatch.setattr(asgi, "REQUEST_WITHIN", 60.0)
            for _ in range(2):  # in peace
                writer.write(ASK)
                assert b" 200 " in await answer(reader)
            monkeypatch.setattr(asgi, "REQUEST_WITHIN", 0.05)
            writer.write(begin)
            while await reader.read(65_536):  # an answer may come before the request's end
                pass
            writer.close()

    run(main)


def test_nobody_says_for_himself_whence_he_comes_or_that_he_has_tls(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Not from loopback either, where a proxy would be; nor where one was deployed with others."""
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "*")
    seen: list[tuple[object, object]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append((scope["scheme"], scope["client"][0]))
        await PlainTextResponse("")(scope, receive, send)

    monkeypatch.setattr(server, "make_app", lambda *_, **__: app)

    async def main() -> None:
        async with Relay(RelayConfig()) as relay:
            reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
            said = b"X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: https\r\n"
            writer.write(ASK.removesuffix(b"\r\n") + said + b"\r\n")
            assert b" 200 " in await answer(reader)
            writer.close()

    run(main)
    assert seen == [("http", "127.0.0.1")]


def test_a_request_that_is_whole_has_all_the_time_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asgi, "REQUEST_WITHIN", 0.05)

    async def main() -> None:
        async with Relay(RelayConfig()) as relay:
            reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
            for _ in range(3):
                writer.write(ASK)
                assert b" 200 " in await answer(reader)
                await asyncio.sleep(0.06)  # longer than a slow one would be let
            writer.close()

    run(main)
