"""Two relays whose pages are one: a browser's requests go to either."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
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
from tests.loops import run, until
from tests.relay.cluster.redis_server import RedisServer, needs_redis, redis_server
from tests.relay.cluster.test_cluster import configured, member
from tests.relay.website.browser import HOST, Browser
from tunnel.relay_token import RelayToken

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
