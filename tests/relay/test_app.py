"""The relay's own pages. They have no cookies: nothing of a share's site, on the same domain, can
be mistaken for what the relay set, and nothing that the relay set can be overwritten."""

import asyncio

import pytest

from relay.config import RelayConfig
from relay.server import Relay
from tests.loops import run
from tests.ports import refusing


async def answer(port: int, path: str, *fields: str) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    lines = (f"GET {path} HTTP/1.1", "Host: localhost", "Connection: close", *fields)
    writer.write("\r\n".join(lines).encode() + b"\r\n\r\n")
    text = (await reader.read()).decode()
    writer.close()
    return text


def without_date(text: str) -> list[str]:
    return [line for line in text.split("\r\n") if not line.lower().startswith("date:")]


@pytest.mark.parametrize("path", ["/", "/healthz", "/nowhere", "/v1/share"])
def test_no_cookies(path: str) -> None:
    async def main() -> None:
        async with Relay(RelayConfig()) as relay:
            plain = await answer(relay.port, path)
            tossed = await answer(relay.port, path, "Cookie: session=x; __Host-a=y")
            assert plain.startswith("HTTP/1.1 ")
            assert "set-cookie" not in plain.lower()
            assert without_date(tossed) == without_date(plain)

    run(main)


def test_what_an_authority_asks_for() -> None:
    path = "/.well-known/acme-challenge/a-token"

    async def main() -> None:
        place = ("127.0.0.1", refusing())
        async with Relay(RelayConfig(more_places=(place,))) as relay:
            assert (await answer(place[1], path)).startswith("HTTP/1.1 404 ")
            await relay._proof.present(path, "a-token.thumbprint")
            for port in (place[1], relay.port):
                text = await answer(port, path)
                assert text.startswith("HTTP/1.1 200 ")
                assert text.endswith("\r\n\r\na-token.thumbprint")
            assert (await answer(place[1], path[:-1])).startswith("HTTP/1.1 404 ")

    run(main)
