"""What a page is told, and how much at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine

import msgspec
import pytest

from tests.loops import run
from tests.vshare.dashboard.small_share import SmallShare, answer_head, head, seen
from vshare.dashboard import live
from vshare.dashboard.figures import MAX_SAMPLES, Throughput, Totals
from vshare.dashboard.live import MAX_ROWS, Batch, Page
from vshare.dashboard.overview import MAX_NEWS, Overview
from vshare.dashboard.request_log import MAX_EXCHANGES


class Room:
    """A page without a browser."""

    def __init__(self) -> None:
        self.share = SmallShare()
        self.log = self.share.log
        self.throughput = Throughput(self.share)
        self.overview = Overview(self.share.table(), self.share.newsroom, self.share)
        self.page = Page(self.log, self.overview, self.throughput)

    async def next(self) -> Batch:
        batch = await self.page.next_batch()
        assert batch is not None
        return batch

    async def numbers(self) -> list[int]:
        return [row.number for row in (await self.next()).requests]


def with_room(test: Callable[[Room], Coroutine[None, None, None]]) -> None:
    async def main() -> None:
        room = Room()
        with room.overview.listening():
            await test(room)

    run(main)


def test_only_what_is_new_is_told() -> None:
    async def test(room: Room) -> None:
        first = await room.next()
        assert (first.search, first.requests, first.oldest) == ("", [], 1)
        assert await room.page.next_batch() is None
        running = room.log.watch("", head())
        running.answer_body(b"abc")
        assert await room.numbers() == [1]
        assert await room.page.next_batch() is None
        seen(room.log)
        running.answer(answer_head(404))
        batch = await room.next()
        assert [(row.number, row.status) for row in batch.requests] == [(2, 200), (1, 404)]
        assert batch.search is None

    with_room(test)


def test_a_slow_browser_gets_what_is_left_and_no_more_at_a_time() -> None:
    async def test(room: Room) -> None:
        for _ in range(3 * MAX_EXCHANGES):
            seen(room.log)
        told: list[int] = []
        for _ in range(MAX_EXCHANGES // MAX_ROWS):
            batch = await room.next()
            assert len(batch.requests) == MAX_ROWS
            assert batch.oldest == 2 * MAX_EXCHANGES + 1
            told += [row.number for row in batch.requests]
        assert told == list(range(2 * MAX_EXCHANGES + 1, 3 * MAX_EXCHANGES + 1))
        assert await room.page.next_batch() is None

    with_room(test)


def test_what_is_not_kept_any_more_is_told() -> None:
    async def test(room: Room) -> None:
        room.log.watch("", head())
        await room.next()
        for _ in range(MAX_EXCHANGES):
            seen(room.log)
        assert (await room.next()).oldest == 2

    with_room(test)


def test_a_search_begins_anew() -> None:
    async def test(room: Room) -> None:
        for each in ("/a", "/b", "/ab"):
            seen(room.log, head(each))
        assert await room.numbers() == [1, 2, 3]
        room.page.search("path:a")
        batch = await room.next()
        assert (batch.search, [row.number for row in batch.requests]) == ("path:a", [1, 3])
        seen(room.log, head("/c"))
        assert await room.page.next_batch() is None
        seen(room.log, head("/ca"))
        assert await room.numbers() == [5]
        room.page.search("nothing")
        assert (await room.next()).search == "nothing"

    with_room(test)


def test_a_search_lets_others_work_and_gives_way_to_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def test(room: Room) -> None:
        for _ in range(5):
            seen(room.log)
        turns = 0

        def turn() -> None:
            nonlocal turns
            turns += 1
            if turns == 3:
                room.page.search("status:404")
            loop.call_soon(turn)

        loop = asyncio.get_running_loop()
        monkeypatch.setattr(live, "SLICE", -1.0)
        room.page.search("status:200")
        loop.call_soon(turn)
        batch = await room.next()
        assert (batch.search, batch.requests) == ("status:404", [])
        assert turns >= 8

    with_room(test)


def test_the_share_is_told_when_it_changes() -> None:
    async def test(room: Room) -> None:
        await room.next()
        async with asyncio.TaskGroup() as group:
            looking = group.create_task(room.overview.run(lambda: True))
            await asyncio.sleep(0)
            batch = await room.next()
            assert batch.share is not None
            view = msgspec.json.decode(batch.share)
            assert view["state"]["url"] == "https://frosty-weasel-0857.relay.example"
            assert view["guests"]["guests"][0]["name"] == "bob"
            assert view["streams"][0]["port"] == 22
            assert await room.page.next_batch() is None
            looking.cancel()

    with_room(test)


def test_nobody_looks_at_the_share_for_nobody() -> None:
    async def test(room: Room) -> None:
        async with asyncio.TaskGroup() as group:
            looking = group.create_task(room.overview.run(lambda: False))
            await asyncio.sleep(0)
            assert room.overview.version == 0
            looking.cancel()

    with_room(test)


def test_samples_are_rates() -> None:
    async def test(room: Room) -> None:
        room.share.now = Totals(1000, 5000, 10, 3)
        room.throughput.take(2.0)
        room.share.now = Totals(0, 5100, 10, 1)  # a guest was removed, and its count
        room.throughput.take(0.5)
        assert msgspec.json.decode(msgspec.json.encode((await room.next()).samples)) == [
            [500, 2500, 5, 3],
            [0, 200, 0, 1],
        ]
        room.throughput.take(1.0)
        assert len((await room.next()).samples) == 1
        for _ in range(2 * MAX_SAMPLES):
            room.throughput.take(1.0)
        assert len((await room.next()).samples) == MAX_SAMPLES

    with_room(test)


def test_news_are_told_once_and_bounded() -> None:
    async def test(room: Room) -> None:
        newsroom = room.share.newsroom
        newsroom.tell("stream", guest="bob")
        newsroom.tell("kicked", "bob was removed", warning=True)
        newsroom.tell("refused", guest="bob", protocol="tcp", host="h", port=22, reason="no")
        told = (await room.next()).news
        assert [(each.text, each.warning) for each in told] == [
            ("bob was removed", True),
            ("bob: tcp port 22 was refused, no", False),
        ]
        for number in range(2 * MAX_NEWS):
            newsroom.tell("notice", f"{number}")
        assert len((await room.next()).news) == MAX_NEWS
        assert await room.page.next_batch() is None

    with_room(test)
