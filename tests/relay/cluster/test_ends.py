"""A share is seen, and ended, from the pages of a relay that it is not connected to."""

from __future__ import annotations

import asyncio
import dataclasses
import secrets
import time
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from relay.accounting import How
from relay.accounts.book import Allowance, account_book
from relay.accounts.watch import watched_accounts
from relay.cluster.ends import TOPIC
from relay.control import Urls
from relay.server import Relay
from relay.website.app import Parts, make_website
from tests.loops import run, until
from tests.relay.cluster.redis_server import needs_redis, redis_server
from tests.relay.cluster.test_cluster import configured, member
from tests.relay.website.browser import Browser
from tunnel.names import ShareName
from tunnel.relay_token import RelayToken
from vshare.refusals import RejectedError
from vshare.relay_link import RelayLink

pytestmark = [pytest.mark.programs, needs_redis]
FIRST, SECOND = ShareName("the-first-name"), ShareName("the-second-name")


class Sharer:
    """Shares at `relay` with `token`, as soon as that is known there."""

    def __init__(self, stack: AsyncExitStack, relay: Relay, token: RelayToken) -> None:
        self._stack, self._relay, self._token = stack, relay, token
        self._key = Ed25519PrivateKey.generate()

    async def share(self, name: ShareName) -> RelayLink:
        while True:
            link = RelayLink(
                self._relay.address,
                self._key,
                name,
                on_visitor=lambda sock, paired: sock.close(),
                expires_at=time.time() + 3_600,
                route=secrets.token_hex(16),
                token=self._token,
            )
            try:
                return await self._stack.enter_async_context(link)
            except RejectedError:  # the nodes hear of new tokens soon
                await asyncio.sleep(0.05)


def test_a_share_at_another_relay_is_ended_from_the_pages(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        with redis_server(tmp_path) as redis:
            config = configured(tmp_path, redis)
            async with AsyncExitStack() as stack:
                one, two = [
                    await stack.enter_async_context(
                        Relay(dataclasses.replace(config, state_dir=tmp_path / name, accounts=True))
                    )
                    for name in ("one", "two")
                ]
                await until(lambda: member(one).is_ready and member(two).is_ready)
                with account_book(tmp_path / "two") as book:
                    for user in ("ada", "bob"):
                        book.create_user(user, 1.0)
                    ada, bob = (
                        book.create_token(user, Allowance("share pages"), 1.0)
                        for user in ("ada", "bob")
                    )
                sharer = Sharer(stack, one, ada)
                link = await sharer.share(FIRST)
                session = one.registry.get(FIRST)
                assert session is not None
                await until(lambda: member(two).directory.node_of(FIRST))

                watch = stack.enter_context(watched_accounts(tmp_path / "two"))
                urls, folder = Urls("localhost", two.port), tmp_path / "two"
                parts = Parts(
                    two.registry,
                    watch.permits,
                    urls,
                    folder,
                    end_lease=lambda share: None,
                    elsewhere=two._elsewhere,
                )
                website = make_website("pages.example", parts)
                browser, stranger = Browser(website), Browser(website)
                assert (await browser.sign_in(ada.text)).status == 303
                assert (await stranger.sign_in(bob.text)).status == 303
                await stranger.get("/tokens")
                assert (await stranger.post(f"/shares/{FIRST}/end")).status == 404
                assert FIRST in (await browser.get("/shares")).text
                assert (await browser.post(f"/shares/{FIRST}/end")).status == 303
                assert (await link.ended).code == "page"
                assert session.how is How.PAGE
                await until(lambda: not member(two).directory.records[FIRST].node)
                assert f">{FIRST}<" not in (await browser.get("/shares")).text

                again, other = await sharer.share(FIRST), await sharer.share(SECOND)
                await until(lambda: member(two).directory.node_of(SECOND))
                await browser.get("/shares")
                assert (await browser.post(f"/shares/{SECOND}/end")).status == 303
                assert (await other.ended).code == "page"
                assert not again.ended.done()  # another session than the one that was to end

                fence = member(two).directory.records[FIRST].fence
                forged = msgspec.json.encode([[FIRST, fence, True]])
                member(two).post(TOPIC, forged)  # as Redis could, without the seal
                with caplog.at_level("WARNING"):
                    await until(lambda: "cannot be read" in caplog.text)
                assert not again.ended.done()

    run(main)
