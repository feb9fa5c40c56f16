"""The relay's own pages. They have no cookies: nothing of a share's site, on the same domain, can
be mistaken for what the relay set, and nothing that the relay set can be overwritten."""

import asyncio

import pytest

from relay.config import RelayConfig
from relay.server import Relay
from tests.loops import run
from tests.ports import refusing
from tests.relay.tiny_share import tiny_share
from tunnel.address import RelayAddress


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


PAGES = "vshare.example"


async def head_at(port: int, host: str, path: str) -> list[str]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    lines = (f"GET {path} HTTP/1.1", f"Host: {host}", "Connection: close")
    writer.write("\r\n".join(lines).encode() + b"\r\n\r\n")
    head = (await reader.read()).decode().partition("\r\n\r\n")[0]
    writer.close()
    return head.split("\r\n")


def test_pages_at_a_name_of_their_own() -> None:
    """What is at the shares' domain has no page: nothing there is worth a cookie."""

    async def main() -> None:
        config = RelayConfig(domain="shares.example", pages_host=PAGES)
        async with Relay(config) as relay:
            for host in (PAGES, f"{PAGES}:7443", PAGES.upper() + "."):
                assert "HTTP/1.1 200 OK" in await head_at(relay.port, host, "/")
            for host, there in (
                ("shares.example", PAGES),
                ("shares.example:7443", f"{PAGES}:7443"),
                ("127.0.0.1", PAGES),
                ("[::1]", PAGES),
                ("other.example:x", PAGES),
            ):
                head = await head_at(relay.port, host, "/")
                assert head[0].startswith("HTTP/1.1 307 ")
                assert f"location: http://{there}/" in head
                assert "cache-control: no-store" in head
                assert (await head_at(relay.port, host, "/x"))[0].startswith("HTTP/1.1 404 ")
            for host in (PAGES, "shares.example"):  # what programs ask for is where they ask
                assert "HTTP/1.1 200 OK" in await head_at(relay.port, host, "/healthz")
                path = "/.well-known/acme-challenge/token"
                await relay._proof.present(path, "value")
                assert "HTTP/1.1 200 OK" in await head_at(relay.port, host, path)
                site = f"no-such-name.{host}"
                status = (await head_at(relay.port, site, "/"))[0].split()[1]
                assert status == ("404" if host != PAGES else "307")

    run(main)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_shares_register_where_they_did(host: str) -> None:
    async def main() -> None:
        async with Relay(RelayConfig(pages_host=PAGES)) as relay:
            address = RelayAddress(host, relay.port, relay.fingerprint)
            async with tiny_share(address, None) as link:
                assert link.registered.domain == "localhost"

    run(main)
