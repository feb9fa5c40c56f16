import asyncio

import pytest

from relay import expected
from relay.expected import Expected
from tests.loops import run, until


def test_a_visitor_waits_for_a_share_that_is_to_come_back() -> None:
    async def main() -> None:
        shares = Expected()
        await shares.wait("early")  # before it begins nobody is awaited
        shares.begin()
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(shares.wait("one"))
            await asyncio.sleep(0)
            assert not waiting.done()
            shares.came("another")
            shares.came("one")
        await shares.wait("one")  # it was here: who leaves after that is away
        shares.comes("one")
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(shares.wait("one"))
            await asyncio.sleep(0)
            assert not waiting.done()
            shares.came("one")

    run(main)


def test_nobody_waits_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expected, "WAIT_AT_MOST", 0.01)

    async def main() -> None:
        shares = Expected()
        shares.begin()
        await shares.wait("one")
        monkeypatch.setattr(expected, "EXPECT_FOR", 0.01)
        shares.begin()
        await until(lambda: not shares.is_on)
        await shares.wait("one")

    run(main)
