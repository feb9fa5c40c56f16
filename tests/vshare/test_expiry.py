from __future__ import annotations

import asyncio

import pytest

from tests.loops import run, until
from vshare import expiry
from vshare.expiry import Expiry


class Clock:
    """A wall clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expiry, "LOOK_EVERY", 0.001)


def test_each_mark_is_told_once_and_then_it_ends() -> None:
    async def main() -> None:
        clock, left = Clock(), list[float]()
        share = Expiry(clock.now + 3600, clock)
        share.warn = left.append
        async with asyncio.TaskGroup() as group:
            task = group.create_task(share.run())
            for ahead, told in ((3000, []), (600, [600.0]), (300, [600.0]), (59, [600.0, 59.0])):
                clock.now = share.at - ahead
                await asyncio.sleep(0.01)
                assert left == told
                assert not task.done()
            clock.now = share.at
        assert left == [600.0, 59.0]

    run(main)


def test_a_sleep_over_both_marks_is_told_once() -> None:
    async def main() -> None:
        clock, left = Clock(), list[float]()
        share = Expiry(clock.now + 3600, clock)
        share.warn = left.append
        async with asyncio.TaskGroup() as group:
            group.create_task(share.run())
            clock.now = share.at - 30
            await until(lambda: left)
            clock.now = share.at + 1
        assert left == [30.0]

    run(main)


def test_a_laptop_that_slept_through_it() -> None:
    async def main() -> None:
        clock = Clock()
        share = Expiry(clock.now + 60, clock)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(share.run())
            await asyncio.sleep(0.005)
            assert not task.done()
            clock.now += 7 * 86_400

    run(main)


def test_what_is_short_has_no_marks_that_lie_behind() -> None:
    async def main() -> None:
        clock, left = Clock(), list[float]()
        share = Expiry(clock.now + 30, clock)
        share.warn = left.append
        async with asyncio.TaskGroup() as group:
            group.create_task(share.run())
            await asyncio.sleep(0.005)
            clock.now += 31
        assert left == []

    run(main)


def test_extended_it_tells_again() -> None:
    async def main() -> None:
        clock, left = Clock(), list[float]()
        share = Expiry(clock.now + 700, clock)
        share.warn = left.append
        async with asyncio.TaskGroup() as group:
            task = group.create_task(share.run())
            clock.now += 650
            await until(lambda: left)
            share.extend(clock.now + 1000)
            await asyncio.sleep(0.01)
            assert not task.done()
            assert left == [50.0]
            clock.now += 500
            await until(lambda: len(left) == 2)
            clock.now += 500
        assert left == [50.0, 500.0]

    run(main)


def test_it_can_be_made_shorter() -> None:
    async def main() -> None:
        clock = Clock()
        share = Expiry(clock.now + 1e6, clock)
        async with asyncio.TaskGroup() as group:
            group.create_task(share.run())
            await asyncio.sleep(0)
            share.extend(clock.now)

    run(main)
