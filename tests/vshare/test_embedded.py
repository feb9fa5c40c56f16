"""The relay inside `vshare up`."""

import asyncio

import pytest

from tests.relay.tiny_share import tiny_share
from tunnel.address import RelayAddress
from vshare.embedded import embedded_relay

PAGE = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


async def site(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(PAGE)
    writer.close()


async def get(relay: RelayAddress, url: str) -> bytes:
    """What a browser gets that knows `url` and can reach the relay."""
    host = url.removeprefix("http://").removesuffix("/")
    reader, writer = await asyncio.open_connection(relay.host, relay.port)
    writer.write(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    try:
        return await reader.read()
    finally:
        writer.close()


@pytest.mark.parametrize("lan", [False, True])
def test_its_url_opens_the_share(lan: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vshare.embedded.lan_address", lambda wish: "127.0.0.1")

    async def main() -> None:
        server = await asyncio.start_server(site, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with (
            server,
            embedded_relay(lan=lan) as relay,
            tiny_share(relay, port) as link,
        ):
            host = "127.0.0.1" if lan else f"{link.registered.name}.localhost"
            assert link.registered.url == f"http://{host}:{relay.port}/"
            assert (await get(relay, link.registered.url)).endswith(b"\r\n\r\nhello")
            assert bool(link.registered.https_url) is not lan

    asyncio.run(asyncio.wait_for(main(), 20))
