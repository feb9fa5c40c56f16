from __future__ import annotations

import asyncio

import pytest

from tests.loops import run, until
from tunnel.codes import Code
from tunnel.errors import RefusedError, UsageError
from vshare import approvals
from vshare.approvals import MAX_WAITING, Approvals


def test_yes_and_no() -> None:
    async def main() -> None:
        desk = Approvals()
        async with asyncio.TaskGroup() as group:
            bob = group.create_task(desk.ask("bob", "192.0.2.1"))
            carol = group.create_task(refusal(desk, "carol"))
            await until(lambda: len(desk.all()) == 2)
            assert [each.guest for each in desk.all()] == ["bob", "carol"]
            assert desk.changed.is_set()
            assert desk.answer("bob", welcome=True) == "bob"
            assert desk.answer("carol", welcome=False) == "carol"
        assert bob.result() is None
        assert carol.result().code is Code.NOT_ALLOWED
        assert desk.all() == []

    run(main)


async def refusal(desk: Approvals, guest: str) -> RefusedError:
    with pytest.raises(RefusedError) as caught:
        await desk.ask(guest, "192.0.2.2")
    return caught.value


def test_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(approvals, "APPROVE_WITHIN", 0.01)

    async def main() -> None:
        desk = Approvals()
        assert (await refusal(desk, "bob")).code is Code.TIMED_OUT
        assert desk.all() == []

    run(main)


def test_a_newcomer_who_leaves_waits_no_more() -> None:
    async def main() -> None:
        desk = Approvals()
        async with asyncio.TaskGroup() as group:
            bob = group.create_task(desk.ask("bob", "192.0.2.1"))
            await until(desk.all)
            waiting = desk.all()[0]
            assert desk.is_waiting(waiting)
            bob.cancel()
        assert not desk.is_waiting(waiting)
        with pytest.raises(UsageError) as caught:
            desk.answer("bob", welcome=True)
        assert caught.value.hint == "waiting: nobody"

    run(main)


def test_only_so_many_wait() -> None:
    async def main() -> None:
        desk = Approvals()
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(desk.ask(f"g{n}", "x")) for n in range(MAX_WAITING)]
            await until(lambda: len(desk.all()) == MAX_WAITING)
            assert (await refusal(desk, "late")).code is Code.BUSY
            for task in tasks:
                task.cancel()

    run(main)
