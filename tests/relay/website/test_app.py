"""Where the pages are, and where they are not."""

from __future__ import annotations

from pathlib import Path

from relay.cli_serve import about_pages
from relay.config import RelayConfig
from relay.server import Relay
from tests.loops import run
from tests.relay.test_app import head_at

PAGES, DOMAIN = "pages.example", "shares.example"


def test_they_are_at_their_own_host_alone_and_never_without_tls(tmp_path: Path) -> None:
    async def main() -> None:
        config = RelayConfig(
            domain=DOMAIN, pages_host=PAGES, state_dir=tmp_path, accounts=True, public_port=443
        )
        async with Relay(config) as relay:
            for path in ("/", "/sign-in", "/shares", "/nothing"):
                head = await head_at(relay.port, PAGES, path)
                assert head[0].startswith("HTTP/1.1 308 ")
                assert f"location: https://{PAGES}/" in head
            for host in (DOMAIN, "127.0.0.1", f"x.{PAGES}", f"frosty-weasel-0857.{DOMAIN}"):
                for path in ("/sign-in", "/shares", "/static/site.css"):
                    head = await head_at(relay.port, host, path)
                    assert head[0].split()[1] in ("404", "421")
                    assert "set-cookie" not in str(head).lower()
            assert "HTTP/1.1 200 OK" in await head_at(relay.port, PAGES, "/healthz")
        assert "at https://pages.example/" in about_pages(config, 7443)

    run(main)


def test_without_accounts_or_a_host_of_their_own_there_are_none(tmp_path: Path) -> None:
    async def main() -> None:
        for config in (
            RelayConfig(domain=DOMAIN, state_dir=tmp_path, accounts=True),
            RelayConfig(domain=DOMAIN, state_dir=tmp_path, pages_host=PAGES),
        ):
            async with Relay(config) as relay:
                for host in (PAGES, DOMAIN):
                    head = await head_at(relay.port, host, "/sign-in")
                    assert head[0].startswith("HTTP/1.1 404 ")
            assert "no pages to sign in to" in about_pages(config, 7443)

    run(main)
    assert not about_pages(RelayConfig(), 7443)
