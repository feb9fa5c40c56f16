"""Two relays that are one, by way of a real Redis: a visitor of either finds an own domain."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path

import pytest

from relay.server import Relay
from tests.loops import run, until
from tests.relay.cluster.redis_server import needs_redis, redis_server
from tests.relay.cluster.test_cluster import configured, member
from tests.relay.own_domains.dns_server import dns_server
from tests.relay.own_domains.world import DOMAIN, HOST, World, Zone

pytestmark = [pytest.mark.programs, needs_redis]


def test_a_visitor_of_either_relay_finds_it(tmp_path: Path) -> None:
    async def main() -> None:
        zone = Zone()
        with redis_server(tmp_path) as redis:
            async with contextlib.AsyncExitStack() as stack:
                port = await stack.enter_async_context(dns_server(zone.answers))
                config = dataclasses.replace(
                    configured(tmp_path, redis), domain=DOMAIN, resolvers=(("127.0.0.1", port),)
                )
                one, two = [await stack.enter_async_context(Relay(config)) for _ in range(2)]
                await until(
                    lambda: all(len(member(each).directory.nodes) >= 2 for each in (one, two))
                )
                await until(lambda: member(one).is_ready and member(two).is_ready)
                here, there = World(one, zone), World(two, zone)
                async with here.share("shop") as shop:
                    await shop.is_("unproven")
                    zone.prove(shop.row)
                    await shop.is_("good")
                    assert b"site of shop" in await here.ask(HOST)
                    while b"site of shop" not in await there.ask(HOST):  # it has to hear of it
                        pass

    run(main)
