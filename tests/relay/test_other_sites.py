"""A share that publishes other sites while it runs."""

from __future__ import annotations

import asyncio

from tests.loops import until
from tests.relay.test_gateway import World, published, with_world


def test_other_sites_are_open_and_make_no_other_client() -> None:
    async def test(world: World) -> None:
        share = await published(world)
        async with world.browser() as browser:
            name, _, rest = world.host.partition(".")
            more = f"{name}--more.{rest}"
            assert b" 200 " in (await browser.ask("GET /"))[0]
            assert b" 404 " in (await browser.ask("GET /", host=more))[0]
            await world.link.publish_sites(["", "more"])
            await until(lambda: share.published and "more" in share.published.sites)
            head, _ = await browser.ask("GET /", host=more)
            assert b" 403 " in head  # the share's word: it knows of none of that name
            assert b" 200 " in (await browser.ask("GET /"))[0]
            names = [task.get_name() for task in asyncio.all_tasks()]
            assert names.count(f"gateway {share.name}") == 1

    with_world(test)
