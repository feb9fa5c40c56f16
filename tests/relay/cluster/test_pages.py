"""Two relays whose pages are one: a browser's requests go to either."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import re
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from relay.accounts.book import Allowance, account_book
from relay.accounts.permits import Permits
from relay.cluster.pages import TOPIC
from relay.control import Urls
from relay.server import Relay
from relay.website.app import Parts, make_website
from relay.website.sessions import COOKIE
from relay.website.token_asking import (
    ListAsked,
    Listed,
    MakeAsked,
    Refused,
    Told,
    parse_told,
    serialize,
)
from tests.loops import run, until
from tests.relay.cluster.redis_server import RedisServer, needs_redis, redis_server
from tests.relay.cluster.test_cluster import configured, member
from tests.relay.website.browser import HOST, Browser
from tunnel.relay_token import RelayToken, parse_token

pytestmark = [pytest.mark.programs, needs_redis]


@dataclass
class Node:
    """A relay, and its pages."""

    relay: Relay
    folder: Path
    browser: Browser

    @property
    def permits(self) -> Permits:
        permits = self.relay.registry.quotas._permits
        assert permits is not None
        return permits


@contextlib.asynccontextmanager
async def node(folder: Path, redis: RedisServer, name: str) -> AsyncIterator[Node]:
    config = dataclasses.replace(configured(folder, redis), state_dir=folder / name, accounts=True)
    async with Relay(config) as relay:
        permits = relay.registry.quotas._permits
        assert permits is not None
        parts = Parts(
            relay.registry,
            permits,
            Urls("localhost", 7443),
            folder / name,
            lambda share: None,
            together=relay._together,
        )
        await until(lambda: member(relay).is_ready)
        yield Node(relay, folder / name, Browser(make_website(HOST, parts)))


def token_of(folder: Path, user: str = "ada", scope: str = "share pages") -> RelayToken:
    with account_book(folder) as book:
        if user not in {each.name for each in book.users()}:
            book.create_user(user, 1.0)
        return book.create_token(user, Allowance(scope, note=f"{user}'s"), time.time())


def go_on_at(one: Node, two: Node) -> None:
    """The browser's next request goes to the other node."""
    two.browser.cookies, two.browser.csrf = one.browser.cookies, one.browser.csrf


async def knows(node: Node, token: RelayToken) -> None:
    await until(lambda: node.permits.get(token.id, time.time()))


async def answers(node: Node, target: str, status: int) -> None:
    """Wait until it does: it hears of the others soon."""
    while True:
        if (await node.browser.get(target)).status == status:
            return
        await asyncio.sleep(0.01)


def test_who_is_signed_in_at_one_node_is_at_all_and_is_signed_out_at_all(tmp_path: Path) -> None:
    async def main() -> None:
        with redis_server(tmp_path) as redis:
            async with node(tmp_path, redis, "one") as one, node(tmp_path, redis, "two") as two:
                token = token_of(one.folder)
                await knows(two, token)
                await until(lambda: len(member(two.relay).directory.nodes) == 2)
                await two.browser.get("/sign-in")  # the form of one, sent to the other
                go_on_at(two, one)
                answer = await one.browser.post("/sign-in", token=token.text)
                assert answer.get("location") == "/shares"
                go_on_at(one, two)
                assert (await two.browser.get("/tokens")).status == 200
                cookie = two.browser.cookies[COOKIE]
                assert (await two.browser.post("/sign-out")).get("location") == "/"
                assert COOKIE not in two.browser.cookies
                one.browser.cookies = {COOKIE: cookie}
                await answers(one, "/shares", 303)
                # So does one that was not there; and nobody takes back what was said.
                member(two.relay).post(TOPIC, b"forged")
                one.browser.cookies = {}
                await one.browser.sign_in(token.text)
                async with node(tmp_path, redis, "three") as three:
                    go_on_at(one, three)
                    await answers(three, "/shares", 200)
                    three.browser.cookies = {COOKIE: cookie}
                    assert (await three.browser.get("/shares")).status == 303

    run(main)


def test_tokens_are_listed_made_and_revoked_at_another_node(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")

    async def main() -> None:
        with redis_server(tmp_path) as redis:
            async with node(tmp_path, redis, "two") as two:
                async with node(tmp_path, redis, "one") as one:
                    ada, bob = token_of(one.folder), token_of(one.folder, "bob")
                    eve = token_of(two.folder, "eve")  # her account has the same number there
                    await knows(two, bob)
                    await until(lambda: member(two.relay).directory.others())
                    browser = two.browser
                    assert (await browser.sign_in(ada.text)).status == 303
                    page = (await browser.get("/tokens")).text
                    assert "ada&#39;s" in page
                    for other in (bob, eve):
                        assert other.id not in page
                        assert (await browser.post(f"/tokens/{other.id}/revoke")).status == 404
                    answer = await browser.post("/tokens", note="laptop", shares="2")
                    assert (answer.status, answer.get("location")) == (303, "/tokens")
                    page = (await browser.get("/tokens")).text
                    assert "laptop" in page
                    found = re.search(r"vsr_[a-z2-7]{67}", page)
                    assert found is not None
                    made = parse_token(found[0])
                    assert made.text not in (await browser.get("/tokens")).text
                    await knows(two, made)
                    answer = await browser.post("/tokens", shares="many")
                    assert answer.status == 400
                    assert "not a number of shares" in answer.text
                    assert (await browser.post(f"/tokens/{made.id}/revoke")).status == 303
                    assert "<td>revoked" in (await browser.get("/tokens")).text
                    with account_book(one.folder) as book:  # where it was made it is marked
                        await until(lambda: book.token(made.id).revoked_at)
                # Their relay is away: what is known is shown, and can be revoked.
                await until(lambda: not member(two.relay).directory.others())
                page = (await browser.get("/tokens")).text
                assert "does not answer now" in page
                assert ada.id in page
                assert made.id not in page
                answer = await browser.post("/tokens")
                assert answer.status == 409
                assert "does not answer now" in answer.text
                assert (await browser.post(f"/tokens/{bob.id}/revoke")).status == 404
                assert (await browser.post(f"/tokens/{ada.id}/revoke")).status == 303
                await answers(two, "/tokens", 303)  # his very own: he is signed out
            assert made.text not in caplog.text

    run(main)


def test_who_asks_about_tokens_is_told_no_more_than_the_token_is_for(tmp_path: Path) -> None:
    async def main() -> None:
        with redis_server(tmp_path) as redis:
            async with node(tmp_path, redis, "one") as one, node(tmp_path, redis, "two") as two:
                ada, sharing = token_of(one.folder), token_of(one.folder, scope="share")
                other, admin = token_of(two.folder, "eve"), token_of(two.folder, "root", "admin")
                await knows(one, admin)
                await knows(two, sharing)
                await until(lambda: member(two.relay).directory.others())
                together = two.relay._together
                assert together is not None

                async def ask(question: bytes) -> Told | None:
                    (answer,) = await together.ask_others(question)
                    return parse_told(answer) if answer is not None else None

                for token in (sharing.id, "abcdefgh"):
                    for question in (ListAsked(token), MakeAsked(token, {})):
                        assert isinstance(await ask(serialize(question)), Refused)
                told = await ask(serialize(ListAsked(ada.id)))
                assert isinstance(told, Listed)
                assert {each.id for each in told.rows} == {ada.id, sharing.id}
                told = await ask(serialize(ListAsked(other.id)))
                assert told == Listed([])  # her account is not kept there
                assert isinstance(await ask(serialize(MakeAsked(other.id, {}))), Refused)
                told = await ask(serialize(ListAsked(admin.id)))
                assert isinstance(told, Listed)
                assert len(told.rows) == 2
                for junk in (b"", b"{}", b"[]", b'{"type":"make","token":"%s"}' % ada.id.encode()):
                    assert await ask(junk) is None
                assert (await two.browser.sign_in(admin.text)).status == 303
                page = (await two.browser.get("/tokens")).text
                assert all(each.id in page for each in (ada, sharing, other, admin))

    run(main)
