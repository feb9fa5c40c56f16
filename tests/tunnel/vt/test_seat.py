"""A person before a shared terminal; with real terminals: tests/connect_vm/test_terminal.py."""

from __future__ import annotations

import asyncio

import pytest

from tests.loops import run
from tunnel.terminal_messages import MessageType, State, serialize_payload
from tunnel.vt import seat
from tunnel.vt.seat import Seat
from tunnel.vt.slices import MOST


def test_much_work_of_a_share_leaves_time_for_the_person(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seat, "LONG_PICTURE", -1.0)  # anything takes long
    turns: list[int] = []

    async def main() -> None:
        person = Seat(lambda state: "")
        loop = asyncio.get_running_loop()

        def turn() -> None:
            turns.append(len(turns))
            loop.call_soon(turn)

        loop.call_soon(turn)
        await person._received(MessageType.OUTPUT, b"\x1bc" * 3 * MOST + b"x")
        assert len(turns) >= 3
        assert person._screen.lines[0].chars[0] == "x"

    run(main)


def test_a_screen_has_its_size_whatever_a_share_says() -> None:
    async def main() -> None:
        person = Seat(lambda state: "")
        said = serialize_payload(State("shell", 10_000, 10_000, write=True))
        person._told = lambda before, state: []
        person._paint_soon = lambda: None  # type: ignore[method-assign]  # there is no terminal
        await person._received(MessageType.STATE, said[4:])
        assert (person._screen.columns, person._screen.rows) == (500, 200)

    run(main)
