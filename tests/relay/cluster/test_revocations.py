"""A token is revoked at a relay that has not made it, while the one that has is away."""

from __future__ import annotations

import dataclasses
import time
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from relay.accounts.book import Allowance, account_book
from relay.server import Relay
from tests.loops import run, until
from tests.relay.cluster.redis_server import needs_redis, redis_server
from tests.relay.cluster.test_cluster import configured, member, two_knows
from tests.relay.test_relay import Collected

pytestmark = [pytest.mark.programs, needs_redis]


def test_a_token_whose_relay_is_gone_is_revoked_at_another(tmp_path: Path) -> None:
    async def main() -> None:
        shares = Collected()
        with redis_server(tmp_path) as redis:
            one, two, three = (
                dataclasses.replace(
                    configured(tmp_path, redis), accounts=True, state_dir=tmp_path / each
                )
                for each in ("one", "two", "three")
            )
            with account_book(tmp_path / "one") as book:
                book.create_user("ada", time.time())
                token = book.create_token("ada", Allowance(), time.time())
            async with AsyncExitStack() as stack:
                second = await stack.enter_async_context(Relay(two))
                async with Relay(one), Relay(three) as third:
                    await until(lambda: two_knows(second, token) and two_knows(third, token))
                await until(lambda: member(second).is_ready)
                link = shares.link(second.address)
                link._token = token
                async with link:
                    with account_book(tmp_path / "three") as book:  # while it does not run
                        assert book.revoke_everywhere(token.id, time.time())
                    async with Relay(three):
                        assert (await link.ended).code == "token"
                # Who revoked it is away again; the one that made it comes back with what it had.
                async with Relay(one) as first:
                    await until(lambda: member(first).is_ready and not two_knows(first, token))
                    assert not two_knows(second, token)
                    with account_book(tmp_path / "one") as book:  # where it was made it is marked
                        await until(lambda: book.token(token.id).revoked_at)

    run(main)
