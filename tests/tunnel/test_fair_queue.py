from __future__ import annotations

import pytest

from tunnel import fair_queue
from tunnel.fair_queue import MAX_AGE, FairQueue


@pytest.fixture(autouse=True)
def only_bytes_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fair_queue, "OVERHEAD", 0)


class Drops:
    def __init__(self) -> None:
        self.flows: list[int] = []

    def queue(self, limit: int) -> FairQueue:
        return FairQueue(limit, self.flows.append)


def everything(queue: FairQueue, now: float = 0.0) -> list[bytes]:
    got = []
    while (data := queue.pop(now)) is not None:
        got.append(data)
    return got


def test_flows_take_turns_each_in_order() -> None:
    queue = Drops().queue(100)
    for data in (b"a1", b"a2", b"a3", b"b1", b"c1", b"c2"):
        queue.push(data[0], data, 0.0)
    assert everything(queue) == [b"a1", b"b1", b"c1", b"a2", b"c2", b"a3"]
    assert queue.size == 0
    assert queue.pop(0.0) is None


def test_who_floods_loses_its_own_oldest() -> None:
    drops = Drops()
    queue = drops.queue(100)
    queue.push(1, b"dns", 0.0)
    for number in range(1000):
        queue.push(2, b"%09d!" % number, 0.0)
        queue.push(3, b"v", 0.0) if number % 100 == 0 else None
    assert queue.size <= 100
    assert set(drops.flows) == {2}
    left = everything(queue)
    assert left.count(b"dns") == 1
    assert left.count(b"v") == 10
    flood = [data for data in left if len(data) == 10]
    assert flood == [b"%09d!" % number for number in range(1000 - len(flood), 1000)]
    assert len(drops.flows) == 1000 - len(flood)


def test_who_has_stopped_flooding_is_forgiven() -> None:
    drops = Drops()
    queue = drops.queue(100)
    queue.push(1, bytes(90), 0.0)
    assert queue.pop(0.0) == bytes(90)
    for _ in range(12):
        queue.push(2, bytes(10), 0.0)
    queue.push(1, bytes(5), 0.0)
    assert drops.flows == [2, 2, 2]


def test_two_that_flood_share_the_room() -> None:
    drops = Drops()
    queue = drops.queue(1000)
    for _ in range(500):
        queue.push(1, bytes(10), 0.0)
    for _ in range(500):
        queue.push(2, bytes(10), 0.0)
    assert abs(len(queue.drain(1)) - len(queue.drain(2))) <= 1
    assert queue.size == 0


def test_what_is_old_is_dropped_in_its_turn() -> None:
    drops = Drops()
    queue = drops.queue(1000)
    queue.push(1, b"old", 0.0)
    queue.push(1, b"new", 1.0)
    queue.push(2, b"", 1.0)
    assert everything(queue, MAX_AGE + 0.5) == [b"", b"new"]
    assert drops.flows == [1]


def test_one_larger_than_the_room_does_not_stay() -> None:
    drops = Drops()
    queue = drops.queue(10)
    queue.push(1, bytes(11), 0.0)
    assert drops.flows == [1]
    assert queue.size == 0


def test_empty_datagrams_are_not_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fair_queue, "OVERHEAD", 10)
    drops = Drops()
    queue = drops.queue(100)
    for _ in range(15):
        queue.push(1, b"", 0.0)
    assert drops.flows == [1] * 5
    assert everything(queue) == [b""] * 10
    assert queue.size == 0
