"""A person before a shared terminal; with real terminals: tests/connect_vm/test_terminal.py."""

from __future__ import annotations

import asyncio

import pytest

from tests.loops import run
from tunnel.errors import LostError
from tunnel.terminal_messages import MessageType, State, serialize, serialize_payload
from tunnel.vt import seat
from tunnel.vt.kept_keys import UNSURE
from tunnel.vt.painter import Painter
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


class Link:
    """Keeps what the share was sent."""

    def __init__(self) -> None:
        self.sent = b""

    def write(self, data: bytes) -> None:
        self.sent += data

    async def drain(self) -> None:
        pass

    async def receive(self) -> bytes:
        raise LostError("gone")

    def close(self) -> None:
        pass


def test_keys_of_while_the_way_is_lost_are_sent_when_it_is_back() -> None:
    async def main() -> None:
        person, told = Seat(lambda state: ""), list[str]()
        person._painter = Painter(80, 24)
        person._paint_soon = lambda: None  # type: ignore[method-assign]  # there is no terminal
        person.tell = lambda *lines: told.extend(lines)  # type: ignore[method-assign]
        said = serialize_payload(State("shell", 80, 24, write=True))[4:]
        first, second = Link(), Link()
        person._link = first
        await person._received(MessageType.STATE, said)
        await person._typed(b"one")
        assert first.sent == serialize(MessageType.INPUT, b"one")
        person._link = None
        person._kept.lost()
        await person._typed(b"tw")
        person._link = second
        await person._typed(b"o")  # the share has not said yet who may type
        assert second.sent == b""
        await person._received(MessageType.STATE, said)
        await person._typed(b"three")
        assert second.sent == b"".join(
            serialize(MessageType.INPUT, each) for each in (b"two", b"three")
        )
        assert told == [UNSURE]

    run(main)
