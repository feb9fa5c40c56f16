"""Own domains when the relay begins again: there at once, and the DNS decides as before."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path

import dns.rcode
import pytest

from relay.config import RelayConfig
from relay.names import NameBook
from relay.own_domains import claims, desk
from relay.own_domains.certificates import OwnCertificates
from relay.own_domains.desk import OwnDomainDesk
from relay.own_domains.lookup import Lookup
from relay.own_domains.proofs import Proof, ProofBook
from relay.registry import LocalRegistry
from relay.server import Relay
from tests.loops import run, until
from tests.relay.own_domains.dns_server import dns_server
from tests.relay.own_domains.world import DOMAIN, HOST, Shared, World, Zone

SOON = 0.02  # seconds
BOOK = "own-domains.json"


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AGAIN_HELD", "AGAIN_DOUBTED", "AGAIN_LAST"):
        monkeypatch.setattr(claims, name, SOON)
    monkeypatch.setattr(claims, "_AGAIN", ())
    monkeypatch.setattr(desk, "HOUSE_EVERY", SOON)


@contextlib.asynccontextmanager
async def relay_in(folder: Path, zone: Zone, port: int = 0) -> AsyncIterator[World]:
    async with dns_server(zone.answers) as resolver:
        places = (("127.0.0.1", resolver),)
        config = RelayConfig(domain=DOMAIN, port=port, resolvers=places, state_dir=folder)
        async with Relay(config) as relay:
            yield World(relay, zone)


@contextlib.asynccontextmanager
async def proven(folder: Path, zone: Zone) -> AsyncIterator[tuple[Shared, int]]:
    """A share that has its domain at a relay which has gone, and that one's port."""
    async with contextlib.AsyncExitStack() as first:
        world = await first.enter_async_context(relay_in(folder, zone))
        port, book = world.relay.port, ProofBook(folder / BOOK)
        async with world.share("shop") as shop:
            await shop.is_("unproven")
            zone.prove(shop.row)
            await shop.is_("good")
            await until(lambda: [each.host for each in book.read()] == [HOST])
            await first.aclose()
            yield shop, port


def test_it_is_there_at_once_whether_the_dns_answers_or_not(tmp_path: Path) -> None:
    async def main() -> None:
        zone = Zone()
        async with proven(tmp_path, zone) as (shop, port):
            zone.rcode = dns.rcode.SERVFAIL
            asked = zone.asked
            async with relay_in(tmp_path, zone, port) as world:
                # Who comes before the share is back waits for it, as at its name.
                assert b"site of shop" in await world.ask()
                await until(lambda: zone.asked > asked + 1)
                assert b"site of shop" in await world.ask()
                assert shop.row.state == "good"

    run(main)


def test_a_record_that_is_gone_by_then_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "GONE_AFTER", 0.0)

    async def main() -> None:
        zone = Zone()
        async with proven(tmp_path, zone) as (shop, port):
            zone.records.clear()
            async with relay_in(tmp_path, zone, port) as world:
                await shop.is_("unproven")
                assert b"site of" not in await world.ask()
                await until(lambda: not ProofBook(tmp_path / BOOK).read())

    run(main)


def test_one_whose_place_another_process_has_taken_writes_no_more(tmp_path: Path) -> None:
    async def main() -> None:
        zone = Zone()
        async with relay_in(tmp_path, zone) as world, world.share("shop") as shop:
            world.relay.registry.is_handed_over = True
            await shop.is_("unproven")
            zone.prove(shop.row)
            await shop.is_("good")
            asked = zone.asked
            await until(lambda: zone.asked > asked + 3)
            assert not (tmp_path / BOOK).exists()

    run(main)


def held_after(folder: Path, relay: str) -> list[str]:
    """What a relay of that name takes up from the book."""

    async def main() -> list[str]:
        registry, shown = LocalRegistry(NameBook(None)), OwnCertificates(None, None)
        book = ProofBook(folder / BOOK)
        made = OwnDomainDesk(registry, Lookup(), shown, (relay, ""), book=book)
        made.restore()
        return [str(host) for host, _ in made.holders()]

    return asyncio.run(main())


@pytest.mark.parametrize(
    ("age", "relay", "held"),
    [
        (60.0, DOMAIN, [HOST]),
        (desk.REMEMBERED + 60, DOMAIN, []),
        (-60.0, DOMAIN, []),  # the clock was set back: nobody knows when it was
        (60.0, "example.com", []),  # the domain is the relay's by now
    ],
)
def test_only_what_was_proven_lately_is_believed(
    tmp_path: Path, age: float, relay: str, held: list[str]
) -> None:
    at = time.time() - age
    ProofBook(tmp_path / BOOK).write([Proof(HOST, "shop", bytes(32), at, at)])
    assert held_after(tmp_path, relay) == held


@pytest.mark.parametrize(
    "content", [b"", b"[[", b'[["app.example.com", "shop", "AAAA", 0, 0]]', b"[" * 100_000, b"\xff"]
)
def test_nonsense_is_passed_over(tmp_path: Path, content: bytes) -> None:
    (tmp_path / BOOK).write_bytes(content)
    assert held_after(tmp_path, DOMAIN) == []
