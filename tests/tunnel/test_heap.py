from __future__ import annotations

import asyncio
import gc
import weakref
from pathlib import Path

import pytest

from tests.loops import run
from tunnel import heap

BLOCK = 100_000  # bytes; larger ones come from the system one by one
BLOCKS = 600


def resident() -> int:
    """Bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("VmRSS")).split()[1])


def test_what_is_free_below_something_used_is_given_back() -> None:
    used = [bytes(range(256)) * (BLOCK // 256) for _ in range(BLOCKS)]
    del used[:-1]
    before = resident()
    heap.give_back()
    assert before - resident() > BLOCK * BLOCKS // 2
    assert len(used) == 1


def test_cycles_are_found() -> None:
    class Lost:
        me: Lost

    lost = Lost()
    lost.me = lost
    seen = weakref.ref(lost)
    gc.disable()
    try:
        del lost
        assert seen() is not None
        heap.give_back()
        assert seen() is None
    finally:
        gc.enable()


def test_it_is_done_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heap, "GIVE_BACK_EVERY", 0.001)

    async def main() -> None:
        times = 0
        twice = asyncio.Event()

        def count() -> None:
            nonlocal times
            times += 1
            if times == 2:
                twice.set()

        monkeypatch.setattr(heap, "give_back", count)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(heap.keep_giving_back())
            await twice.wait()
            task.cancel()

    run(main)


def test_where_there_is_no_such_function(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctypes.CDLL", lambda name: object())
    heap.give_back()
