"""In which order a crowd is shown what a terminal's program writes, told turn by turn."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine

import pytest

from tests.loops import run, until
from tests.shared_terminals import ADA, BOB, MemoryProgram, Watcher
from tunnel.terminal_messages import FROM_SHARE, HEADER_SIZE, MessageType, Size, parse_one
from vshare.terminals.fan_out import GUESTS_A_TURN
from vshare.terminals.hub import Hub
from vshare.terminals.identity import SHARER, Identity
from vshare.terminals.output_log import MAX_KEPT
from vshare.terminals.terminal import SharedTerminal, Terms

CROWD = 5 * GUESTS_A_TURN


class Crowd:
    """Guests who look on; `order` is who was shown output, and `texts` what, in order."""

    def __init__(self, hub: Hub, count: int = CROWD) -> None:
        self.order: list[int] = []
        self.texts: list[bytes] = []
        for at in range(count):
            hub.view("", Identity(f"key-{at}", f"guest-{at}"), self._sink(at))

    def _sink(self, at: int) -> Callable[[bytes], bool]:
        def take(message: bytes) -> bool:
            if message[0] == MessageType.OUTPUT:
                self.order.append(at)
                self.texts.append(message[HEADER_SIZE:])
            return True

        return take


@pytest.fixture(autouse=True)
def _turns_are_the_loops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vshare.terminals.fan_out.TURN_EVERY", 0.0)


def with_terminal(main: Callable[[Hub, SharedTerminal], Coroutine[None, None, None]]) -> None:
    async def start() -> None:
        hub = Hub()
        terminal = hub.open("build", Terms(read_write=True))
        MemoryProgram(terminal)
        try:
            await main(hub, terminal)
        finally:
            hub.end_all("over")

    run(start, asyncio.new_event_loop)  # whose turns are counted


async def settled() -> None:
    """Until everybody was told who is there, and had a turn."""
    for _ in range(4 * CROWD):
        await asyncio.sleep(0)


async def turns(crowd: Crowd, count: int) -> int:
    """Until guests had as many turns more; how many were shown output then."""
    for _ in range(count):
        before = len(crowd.order)
        for _ in range(10):
            await asyncio.sleep(0)
            if len(crowd.order) != before:
                break
    return len(crowd.order)


def test_the_sharer_at_once_and_guests_a_few_in_a_turn() -> None:
    async def main(hub: Hub, terminal: SharedTerminal) -> None:
        crowd, sharer = Crowd(hub), Watcher(hub)
        await settled()
        terminal.output(b"x")
        assert sharer.shown.endswith(b"x")
        await asyncio.sleep(0)  # in which the sharer's terminal shows it
        assert crowd.order == []
        for turn in range(1, CROWD // GUESTS_A_TURN + 1):
            assert await turns(crowd, 1) == turn * GUESTS_A_TURN
        assert crowd.order == list(range(CROWD))

    with_terminal(main)


def test_the_sharers_keys_and_their_echo_pass_a_crowd_that_has_its_turns() -> None:
    async def main(hub: Hub, terminal: SharedTerminal) -> None:
        crowd, sharer = Crowd(hub), Watcher(hub)
        await settled()
        terminal.output(b"x")
        assert await turns(crowd, 1) == GUESTS_A_TURN
        terminal.output(b"y")
        assert sharer.shown.endswith(b"xy")
        assert len(crowd.order) == GUESTS_A_TURN

    with_terminal(main)


def test_a_crowd_gets_many_pieces_as_one_and_each_byte_once() -> None:
    async def main(hub: Hub, terminal: SharedTerminal) -> None:
        crowd = Crowd(hub, 2)
        await settled()
        for letter in b"abc":
            terminal.output(bytes([letter]))
        await until(lambda: len(crowd.texts) == 2)
        assert crowd.texts == [b"abc", b"abc"]
        terminal.output(b"d")
        terminal.output(b"e")
        await until(lambda: len(crowd.texts) == 4)
        assert crowd.texts[2:] == [b"de", b"de"]

    with_terminal(main)


def test_who_had_no_turn_yet_gets_what_came_meanwhile() -> None:
    async def main(hub: Hub, terminal: SharedTerminal) -> None:
        crowd = Crowd(hub, 2 * GUESTS_A_TURN)
        await settled()
        terminal.output(b"x")
        assert await turns(crowd, 1) == GUESTS_A_TURN
        terminal.output(b"y")
        await until(lambda: sum(map(len, crowd.texts)) == 4 * GUESTS_A_TURN)
        few = GUESTS_A_TURN
        assert crowd.texts == [b"x"] * few + [b"xy"] * few + [b"y"] * few

    with_terminal(main)


def test_the_guest_who_types_is_shown_the_echo_before_others() -> None:
    async def main(hub: Hub, terminal: SharedTerminal) -> None:
        crowd, bob = Crowd(hub), Watcher(hub, BOB)
        await settled()
        bob.type(b"b")
        terminal.output(b"b")
        await asyncio.sleep(0)
        assert bob.shown.endswith(b"b")
        assert crowd.order == []
        assert await turns(crowd, 1) == GUESTS_A_TURN
        terminal.output(b"B")  # he types on
        await asyncio.sleep(0)
        assert bob.shown.endswith(b"bB")
        await until(lambda: b"".join(crowd.texts).count(b"B") == CROWD)
        assert bob.viewer is not None
        bob.viewer.close()
        terminal.output(b"c")
        await until(lambda: crowd.texts.count(b"c") == CROWD)

    with_terminal(main)


def test_who_comes_in_the_middle_is_shown_nothing_twice() -> None:
    async def main(hub: Hub, terminal: SharedTerminal) -> None:
        Crowd(hub)
        await settled()
        terminal.output(b"x")
        await asyncio.sleep(0)
        ada = Watcher(hub, ADA)
        assert ada.shown.count(b"x") == 1
        terminal.output(b"y")
        await until(lambda: ada.shown.endswith(b"y"))
        assert ada.shown.count(b"x") == 1

    with_terminal(main)


def test_who_is_left_behind_is_shown_the_present() -> None:
    """More is written between two turns than is kept."""

    async def main(hub: Hub, terminal: SharedTerminal) -> None:
        ada = Watcher(hub, ADA)
        await settled()
        for _ in range(3):
            terminal.output(b"x" * (MAX_KEPT // 2))
        terminal.output(b"\r\nthe present")
        await until(lambda: b"the present" in ada.shown)
        kinds = [kind for kind, _ in ada.messages if kind is not MessageType.STATE]
        assert kinds == [MessageType.SCREEN] * 2
        await ada.shown_more(b"more", terminal)
        assert ada.shown.endswith(b"more")

    with_terminal(main)


def test_nothing_of_another_size_is_sent_behind_the_new_one() -> None:
    async def main(hub: Hub, terminal: SharedTerminal) -> None:
        ada, sharer = Watcher(hub, ADA), Watcher(hub)
        await settled()
        terminal.output(b"in 80 columns")
        sharer.say(Size(100, 30))
        terminal.output(b", in 100")
        await until(lambda: b", in 100" in ada.shown)
        state = next(
            at for at, (kind, _) in enumerate(ada.messages) if kind is MessageType.STATE and at
        )
        after = [kind for kind, _ in ada.messages[state:] if kind is not MessageType.STATE]
        assert after == [MessageType.SCREEN]
        assert ada.state.columns == 100

    with_terminal(main)


def test_the_last_words_of_a_program_come_before_the_end() -> None:
    async def main(hub: Hub, terminal: SharedTerminal) -> None:
        crowd, ada = Crowd(hub), Watcher(hub, ADA)
        await settled()
        terminal.output(b"logout\r\n")
        terminal.ended("the shell has ended")
        assert crowd.texts == [b"logout\r\n"] * CROWD
        assert ada.shown.endswith(b"logout\r\n")
        assert ada.messages[-1][0] is MessageType.END
        ada_heard = len(ada.messages)
        await settled()
        assert len(ada.messages) == ada_heard

    with_terminal(main)


def test_a_turn_of_somebody_who_left_is_nobodys() -> None:
    async def main(hub: Hub, terminal: SharedTerminal) -> None:
        Crowd(hub)
        heard: list[MessageType] = []

        def sink(message: bytes) -> bool:
            parsed = parse_one(message, FROM_SHARE)
            assert parsed is not None
            heard.append(parsed[0])
            return True

        last = hub.view("", ADA, sink)
        hub.view("", SHARER, lambda message: True)
        await settled()
        terminal.output(b"x")
        await asyncio.sleep(0)
        last.close()
        before = len(heard)
        await settled()
        assert len(heard) == before

    with_terminal(main)
