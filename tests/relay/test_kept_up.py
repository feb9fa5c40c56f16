"""What begins again when it fails."""

from __future__ import annotations

import asyncio
import sqlite3

import pytest

from relay import kept_up as module
from relay.config import RelayConfig
from relay.kept_up import kept_up
from relay.names import NameBook
from relay.server import Relay
from tests.loops import run, until


def test_it_begins_again_until_it_ends(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "AGAIN_AFTER", 0.0)
    runs = 0

    async def work() -> None:
        nonlocal runs
        runs += 1
        if runs < 3:
            raise ValueError("a fault")

    async def main() -> None:
        await kept_up(work, "the work")
        assert runs == 3

    run(main)
    assert caplog.text.count("the work failed") == 2


def test_cancelling_ends_it() -> None:
    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(kept_up(asyncio.Event().wait, "waiting"))  # type: ignore[arg-type]
            await asyncio.sleep(0)
            task.cancel()

    run(main)


def test_a_fault_in_the_housekeeping_does_not_end_a_relay(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "AGAIN_AFTER", 0.0)
    looks = 0

    def broken(book: NameBook, now: float) -> None:
        nonlocal looks
        looks += 1
        if looks < 3:
            raise sqlite3.DatabaseError("database disk image is malformed")

    monkeypatch.setattr(NameBook, "forget_old", broken)

    async def main() -> None:
        async with Relay(RelayConfig()):
            await until(lambda: looks == 3)

    run(main)
    assert caplog.text.count("housekeeping failed") == 2
