"""Own domains through a real relay: whose is which, and who answers visitors."""

from __future__ import annotations

import asyncio

import dns.rcode
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from relay.config import RelayConfig
from relay.own_domains import claims, desk
from relay.own_domains.certificates import OwnCertificates
from relay.own_domains.lookup import Lookup
from tests.loops import until
from tests.relay.own_domains.world import DOMAIN, HOST, World, with_world
from tunnel.names import ShareName
from tunnel.own_domains import OwnDomain, challenge_name
from vshare.own_domains import NOT_OFFERED

SOON = 0.02  # seconds


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AGAIN_HELD", "AGAIN_DOUBTED", "AGAIN_LAST"):
        monkeypatch.setattr(claims, name, SOON)
    monkeypatch.setattr(claims, "_AGAIN", ())
    monkeypatch.setattr(desk, "HOUSE_EVERY", SOON)


def test_a_record_gives_a_share_its_domain_and_its_end_takes_it_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def test(world: World) -> None:
        async with world.share("shop") as shop:
            await shop.is_("unproven")
            assert shop.row.cname == "shop.relay.example"
            before = await world.ask()
            assert b"site of shop" not in before
            world.zone.prove(shop.row)
            await shop.is_("good")
            assert shop.row.certificate == "self-made"
            for tls in (True, False):
                answer = await world.ask(tls=tls)
                assert b"site of shop" in answer
                assert b"Host: app.example.com\r\n" in answer
                assert b"Set-Cookie: a=1; Domain=app.example.com\r\n" in answer
                assert b"Set-Cookie: b=2\r\n" in answer  # it is this host's alone
            assert b"site of shop" in await world.ask("APP.example.com.", sni=HOST)
            world.zone.rcode = dns.rcode.SERVFAIL
            asked = world.zone.asked
            await until(lambda: world.zone.asked > asked + 1)
            assert b"site of shop" in await world.ask()
            world.zone.rcode = dns.rcode.NXDOMAIN
            monkeypatch.setattr(claims, "GONE_AFTER", 0.0)
            world.zone.records.clear()
            await shop.is_("unproven")
            assert await world.ask() == before  # as any name that the relay knows nothing of
            assert before == await world.ask("unknown.example.com")

    with_world(test)


def test_what_a_connection_was_opened_for_is_all_that_it_is_for() -> None:
    async def test(world: World) -> None:
        async with world.share("shop") as shop:
            await shop.is_("unproven")
            world.zone.prove(shop.row)
            await shop.is_("good")
            for sni, host in (
                (HOST, "shop.relay.example"),
                ("shop.relay.example", HOST),
                ("relay.example", HOST),
                ("other.example.com", HOST),
            ):
                assert b" 421 " in (await world.ask(host, sni=sni)).partition(b"\r\n")[0], sni
            for host in ("x.app.example.com", "example.com", "app.example.com.evil.example"):
                assert b"site of shop" not in await world.ask(host)

    with_world(test)


def test_nobody_takes_over_what_points_here() -> None:
    """The CNAME is still there, and the record of who shared it before as well."""

    async def test(world: World) -> None:
        async with world.share("shop") as shop:
            await shop.is_("unproven")
            world.zone.prove(shop.row)
            await shop.is_("good")
            async with world.share("thief") as thief:
                await thief.is_("unproven")
                # What a wildcard among the records would say, too.
                elsewhere = challenge_name(OwnDomain("b.example.com"))
                world.zone.records[elsewhere] = [shop.row.txt_value]
                async with world.share("other", "b.example.com") as other:
                    await other.is_("unproven")
                    assert b"site of shop" in await world.ask()
                world.zone.prove(shop.row, thief.row)
                await thief.is_("taken")
                assert b"site of shop" in await world.ask()
                world.zone.prove(thief.row)  # the domain's owner wants that
                await thief.is_("good")
                await shop.is_("unproven")
                assert b"site of thief" in await world.ask()
        assert b"site of" not in await world.ask()

    with_world(test)


def test_a_connection_that_lasts_follows_the_domain() -> None:
    async def test(world: World) -> None:
        async with world.share("shop") as shop, world.share("next") as following:
            await shop.is_("unproven")
            world.zone.prove(shop.row)
            await shop.is_("good")
            async with world.visitor() as (reader, writer):
                for each in (shop, following):
                    world.zone.prove(each.row)
                    await each.is_("good")
                    for _ in range(2):  # by the coroutine, and by the quick path
                        writer.write(b"GET / HTTP/1.1\r\nHost: app.example.com\r\n\r\n")
                        await reader.readuntil(b"\r\n\r\n")
                        body = await reader.readuntil(b"\r\n\r\n")
                        assert f"site of {each.link.registered.name},".encode() in body

    with_world(test)


def test_a_share_that_is_away_keeps_it_and_a_key_has_it_again_at_once() -> None:
    async def test(world: World) -> None:
        key = Ed25519PrivateKey.generate()
        async with world.share("shop", key=key) as shop:
            await shop.is_("unproven")
            world.zone.prove(shop.row)
            await shop.is_("good")
            gone = world.session("shop")
            world.zone.rcode = dns.rcode.SERVFAIL  # nothing is proven anew
            gone.finish()
            while b"site of shop" not in await world.ask():  # noqa: ASYNC110  # it comes back
                await asyncio.sleep(SOON)
            assert world.session("shop") is not gone
            async with world.share("renamed", key=key) as renamed:
                await renamed.is_("good")
                assert renamed.row.cname == "renamed.relay.example"
                assert b"site of renamed" in await world.ask()
        assert b" 410 " in (await world.ask()).partition(b"\r\n")[0]

    with_world(test)


def test_a_name_that_is_anothers_by_now_does_not_have_its_domain() -> None:
    async def test(world: World) -> None:
        async with world.share("shop") as shop:
            await shop.is_("unproven")
            world.zone.prove(shop.row)
            await shop.is_("good")
            world.session("shop").key_hash = b"another's"
            assert b"site of" not in await world.ask()

    with_world(test)


@pytest.mark.parametrize("host", ["relay.example", "x.relay.example", "example", "*.example.com"])
def test_what_no_share_gets(host: str) -> None:
    async def test(world: World) -> None:
        async with world.share("shop", host) as shop:
            await shop.is_("refused")
            assert shop.row.reason
            assert world.zone.asked == 0

    with_world(test)


def test_only_so_many_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk, "MAX_CLAIMS", 2)

    async def test(world: World) -> None:
        async with world.share("shop", "a.example.com", "b.example.com", "c.example.com") as shop:
            await until(lambda: shop.own.rows[-1].state == "refused")
            assert [each.state for each in shop.own.rows] == ["unproven", "unproven", "refused"]
        await until(lambda: world.relay.registry.get(ShareName("shop")) is None)
        async with world.share("next", "d.example.com") as following:  # they are forgotten
            await following.is_("unproven")

    with_world(test)


def test_a_relay_that_has_no_name_offers_none() -> None:
    async def test(world: World) -> None:
        async with world.share("shop") as shop:
            assert not shop.link.registered.own_domains
            assert (shop.row.state, shop.row.reason) == ("refused", NOT_OFFERED)

    with_world(test, RelayConfig())


def test_slow_dns_holds_up_nobody() -> None:
    async def test(world: World) -> None:
        world.zone.answers = lambda query, is_tcp: []  # type: ignore[method-assign]
        async with world.share("shop") as shop:
            assert shop.row.state == ""
            assert b"site of shop" in await world.ask("shop.relay.example")

    with_world(test)


def test_a_look_that_fails_costs_itself_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(lookup: Lookup, name: str) -> frozenset[str]:
        raise ValueError("a fault")

    monkeypatch.setattr(Lookup, "texts", broken)

    async def test(world: World) -> None:
        async with world.share("some-name") as shared:
            await shared.is_("unanswered")
            assert b"some-name" in await world.ask(f"some-name.{DOMAIN}")

    with_world(test)
    assert "could not be asked for" in caplog.text


def test_a_certificate_counts_for_the_shares_account(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted: list[tuple[str, str]] = []

    def want(self: OwnCertificates, host: OwnDomain, payer: str) -> None:
        wanted.append((host, payer))

    monkeypatch.setattr(OwnCertificates, "want", want)

    async def test(world: World) -> None:
        async with world.share("shop") as shop:
            await shop.is_("unproven")
            assert not wanted
            world.session("shop").holders = ("token:abc", "user:7")
            world.zone.prove(shop.row)
            await shop.is_("good")
            assert set(wanted) == {(HOST, "user:7")}

    with_world(test)
