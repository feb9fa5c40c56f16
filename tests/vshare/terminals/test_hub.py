"""A terminal that several look at: who sees what, who may type, and what a slow one costs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from msgspec import msgpack

from tests.loops import run, until
from tests.shared_terminals import ADA, BOB, MemoryProgram, Watcher
from tunnel.codes import Code
from tunnel.errors import RefusedError, RemoteProtocolError, UsageError
from tunnel.terminal_messages import WINDOW, Do, MessageType, Seen, Size
from vshare.terminals.hub import MAX_OF_ONE, Hub
from vshare.terminals.identity import SHARER, Identity
from vshare.terminals.input_bucket import BURST
from vshare.terminals.terminal import GUESTS_LEAST, Terms

READ_WRITE = Terms(read_write=True)
HOLD = Terms(read_write=True, hold=True)
VISITOR = Identity("visitor:1", "Eve", read_only=True)


def with_hub(main: Callable[[Hub], Coroutine[None, None, None]]) -> None:
    async def start() -> None:
        hub = Hub()
        try:
            await main(hub)
        finally:
            hub.end_all("over")

    run(start)


def do(sharer: Watcher, verb: str, guest: str = "", line: str | None = None) -> None:
    assert sharer.viewer is not None
    sharer.viewer.receive(MessageType.DO, msgpack.encode(Do(verb, guest, line)))


def test_everybody_sees_what_the_program_writes_and_a_newcomer_the_present() -> None:
    async def main(hub: Hub) -> None:
        terminal = hub.open("build", Terms())
        program = MemoryProgram(terminal)
        sharer = Watcher(hub)
        ada = Watcher(hub, ADA)
        terminal.output(b"make\r\n")
        bob = Watcher(hub, BOB, "build")
        terminal.output(b"done")
        assert sharer.shown.endswith(b"make\r\ndone")
        await until(lambda: ada.shown.endswith(b"make\r\ndone"))
        assert b"make" in bob.shown
        await until(lambda: bob.shown.endswith(b"done"))
        assert bob.shown.count(b"done") == 1
        assert [kind for kind, _ in ada.messages[:2]] == [MessageType.STATE, MessageType.SCREEN]
        await until(lambda: bob.state.viewers == 3)
        await until(lambda: {each.name for each in sharer.state.people} == {"Ada", "Bob"})
        assert not bob.state.people
        assert program.size == (80, 24)

    with_hub(main)


def test_a_read_only_guest_types_in_vain() -> None:
    async def main(hub: Hub) -> None:
        program = MemoryProgram(hub.open("build", Terms()))
        sharer, ada = Watcher(hub), Watcher(hub, ADA)
        assert not ada.state.write
        assert ada.state.may_ask
        ada.type(b"rm -rf ~\r")
        sharer.type(b"ls\r")
        assert program.typed == b"ls\r"

    with_hub(main)


def test_rights_are_asked_for_given_and_taken_per_guest() -> None:
    async def main(hub: Hub) -> None:
        terminal = hub.open("build", Terms())
        program = MemoryProgram(terminal)
        sharer, ada, bob = Watcher(hub), Watcher(hub, ADA), Watcher(hub, BOB)
        ada.ask()
        await until(lambda: any(each.asks for each in sharer.state.people))
        terminal.grant("Ada", write=True)
        ada.type(b"a")
        bob.type(b"b")
        await until(lambda: ada.state.write and not ada.state.may_ask)
        assert not bob.state.write
        terminal.grant("Ada", write=False)
        ada.type(b"A")
        assert ada.viewer is not None
        assert ada.viewer.bucket.wait() is None  # nor is it kept
        assert program.typed == b"a"
        with pytest.raises(UsageError, match="Carl"):
            terminal.grant("Carl", write=True)

    with_hub(main)


def test_rights_hang_on_the_key_not_on_the_name() -> None:
    """A guest that was granted the right leaves; another comes under that name."""

    async def main(hub: Hub) -> None:
        terminal = hub.open("build", Terms())
        program = MemoryProgram(terminal)
        ada = Watcher(hub, ADA)
        terminal.grant("Ada", write=True)
        assert ada.viewer is not None
        ada.viewer.close()
        stranger = Watcher(hub, Identity("cc", "Ada"))
        stranger.type(b"x")
        again = Watcher(hub, ADA)
        again.type(b"y")
        assert program.typed == b"y"
        visitor = Watcher(hub, VISITOR)
        terminal.grant("Eve", write=True)
        visitor.type(b"z")
        assert not visitor.state.may_ask
        assert program.typed == b"y"

    with_hub(main)


def test_a_lock_takes_typing_away_at_once_and_gives_back_what_was() -> None:
    async def main(hub: Hub) -> None:
        terminal = hub.open("build", READ_WRITE)
        program = MemoryProgram(terminal)
        sharer, ada, bob = Watcher(hub), Watcher(hub, ADA), Watcher(hub, BOB)
        terminal.grant("Bob", write=False)
        terminal.lock(locked=True)
        ada.type(b"a")
        sharer.type(b"s")
        assert program.typed == b"s"
        await until(lambda: ada.state.locked and not ada.state.write)
        do(sharer, "unlock")
        ada.type(b"a")
        bob.type(b"b")
        assert program.typed == b"sa"

    with_hub(main)


def test_a_lock_throws_away_what_waited_for_its_turn() -> None:
    async def main(hub: Hub) -> None:
        terminal = hub.open("build", READ_WRITE)
        program = MemoryProgram(terminal)
        ada = Watcher(hub, ADA)
        for _ in range(8):
            ada.type(b"a" * 4096)
        typed = len(program.typed)
        terminal.lock(locked=True)
        terminal.lock(locked=False)
        await asyncio.sleep(0)
        ada.type(b"b")
        await until(lambda: program.typed.endswith(b"b"))
        assert program.typed == b"a" * typed + b"b"

    with_hub(main)


def test_with_hold_enter_nothing_runs_before_the_sharer_says_so() -> None:
    async def main(hub: Hub) -> None:
        terminal = hub.open("build", HOLD)
        program = MemoryProgram(terminal)
        sharer, ada, bob = Watcher(hub), Watcher(hub, ADA), Watcher(hub, BOB)
        ada.type(b"make te")
        await until(lambda: ada.state.line == "make te")
        ada.type(b"st\r")
        bob.type(b"reboot\r")
        sharer.type(b"# ")
        assert program.typed == b"# "
        await until(lambda: ada.state.held and sharer.state.people[1].held == "reboot")
        do(sharer, "drop", "Bob")
        do(sharer, "release")
        assert program.typed == b"# make test\r"
        do(sharer, "release")
        assert program.typed == b"# make test\r"
        await until(lambda: not ada.state.held and not bob.state.held)

    with_hub(main)


def test_the_line_that_runs_is_the_one_that_the_sharer_was_shown() -> None:
    async def main(hub: Hub) -> None:
        terminal = hub.open("build", HOLD)
        program = MemoryProgram(terminal)
        sharer, first, second = Watcher(hub), Watcher(hub, ADA), Watcher(hub, ADA)

        def held() -> list[str]:
            return [each.held for each in sharer.state.people]

        first.type(b"ls\r")
        second.type(b"reboot\r")
        await until(lambda: held() == ["ls", "reboot"])
        assert first.viewer is not None
        first.viewer.close()  # before the sharer's key
        do(sharer, "release", "Ada", "ls")
        do(sharer, "drop", "Ada", "ls")
        assert program.typed == b""
        do(sharer, "release", "Ada", "reboot")
        second.type(b"\r")
        await until(lambda: held() == [" "])  # an Enter alone
        do(sharer, "release", "Ada", " ")
        assert program.typed == b"reboot\r\r"

    with_hub(main)


def test_what_is_held_is_gone_with_the_right() -> None:
    async def main(hub: Hub) -> None:
        terminal = hub.open("build", HOLD)
        program = MemoryProgram(terminal)
        sharer, ada = Watcher(hub), Watcher(hub, ADA)
        ada.type(b"reboot\r")
        terminal.grant("Ada", write=False)
        do(sharer, "release")
        assert program.typed == b""

    with_hub(main)


def test_a_viewer_that_reads_nothing_costs_the_others_nothing_and_then_sees_the_present() -> None:
    async def main(hub: Hub) -> None:
        terminal = hub.open("build", Terms())
        MemoryProgram(terminal)
        ada, slow, stuck = Watcher(hub, ADA), Watcher(hub, BOB), Watcher(hub, VISITOR)
        slow.sees, stuck.takes = False, False
        for _ in range(100):
            await ada.shown_more(b"x" * 4094 + b"\r\n", terminal)
        assert ada.count >= 100 * 4096
        assert slow.count <= WINDOW + 4096
        assert len(stuck.messages) <= 3
        terminal.output(b"the present")
        slow.sees = True
        slow.say_seen()
        stuck.takes = True
        assert stuck.viewer is not None
        stuck.viewer.ready()
        await until(lambda: b"the present" in slow.shown and b"the present" in stuck.shown)
        screens = [kind for kind, _ in slow.messages if kind is MessageType.SCREEN]
        assert len(screens) == 2

    with_hub(main)


def test_the_program_waits_for_the_sharer_but_not_for_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("vshare.terminals.terminal.SHARER_PATIENCE", 0.05)

    async def main(hub: Hub) -> None:
        terminal = hub.open("build", Terms())
        program = MemoryProgram(terminal)
        sharer = Watcher(hub)
        sharer.sees = False
        for _ in range(20):
            terminal.output(b"x" * 4096)
            if program.is_paused:
                break
        assert program.is_paused
        sharer.say_seen()
        await until(lambda: not program.is_paused)
        for _ in range(16):
            terminal.output(b"x" * 4096)
        await until(lambda: not program.is_paused)  # after its patience
        terminal.output(b"more")
        assert not sharer.shown.endswith(b"more")

    with_hub(main)


def test_nobody_waits_for_a_guest() -> None:
    async def main(hub: Hub) -> None:
        terminal = hub.open("build", Terms())
        program = MemoryProgram(terminal)
        guests = [Watcher(hub, Identity(str(at), f"guest-{at}")) for at in range(50)]
        for each in guests:
            each.sees = False
        for _ in range(100):
            terminal.output(b"x" * 4096)
        assert not program.is_paused

    with_hub(main)


def test_the_sharers_keys_stand_behind_nobodys() -> None:
    async def main(hub: Hub) -> None:
        program = MemoryProgram(hub.open("build", READ_WRITE))
        sharer, ada = Watcher(hub), Watcher(hub, ADA)
        for _ in range(100):
            ada.type(b"a" * 4096)
        before = len(program.typed)
        assert before <= BURST
        sharer.type(b"\x03")
        assert program.typed.endswith(b"\x03")
        assert len(program.typed) == before + 1

    with_hub(main)


def test_who_types_is_not_told_for_each_key_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    for each in ("TYPING_LEAST", "TYPING_LASTS"):
        monkeypatch.setattr(f"vshare.terminals.terminal.{each}", 60.0)

    async def main(hub: Hub) -> None:
        terminal = hub.open("build", READ_WRITE)
        MemoryProgram(terminal)
        sharer, ada = Watcher(hub), Watcher(hub, ADA)
        ada.type(b"a")
        await until(lambda: sharer.state.typing == "Ada")
        version = terminal.version
        sharer.type(b"s")
        assert terminal.version == version
        assert terminal.state_for(terminal.viewers[0]).typing == "Ada"

    with_hub(main)


def test_a_flood_of_single_keys_makes_few_packets() -> None:
    async def main(hub: Hub) -> None:
        program = MemoryProgram(hub.open("build", READ_WRITE))
        ada = Watcher(hub, ADA)
        ada.type(b"a")
        assert program.typed == b"a"  # one who types does not wait
        for _ in range(100):
            ada.type(b"b")
        assert program.typed == b"a"
        await until(lambda: len(program.typed) > 1)
        assert program.typed == b"a" + b"b" * 100

    with_hub(main)


def test_the_sharer_is_shown_first_however_many_look() -> None:
    async def main(hub: Hub) -> None:
        terminal = hub.open("build", Terms())
        MemoryProgram(terminal, echo=True)
        order: list[str] = []

        def sink(name: str) -> Callable[[bytes], bool]:
            def take(message: bytes) -> bool:
                if message[0] == MessageType.OUTPUT:
                    order.append(name)
                return True

            return take

        for at in range(50):
            hub.view("", Identity(str(at), f"guest-{at}"), sink("guest"))
        sharer = hub.view("", SHARER, sink("sharer"))
        sharer.receive(MessageType.INPUT, b"x")
        assert order == ["sharer"]
        await until(lambda: len(order) == 51)

    with_hub(main)


def test_the_size_is_the_sharers_or_the_smallest() -> None:
    async def main(hub: Hub) -> None:
        terminal = hub.open("build", Terms())
        program = MemoryProgram(terminal)
        sharer, ada = Watcher(hub), Watcher(hub, ADA)
        ada.say(Size(40, 10))
        assert program.size == (80, 24)
        sharer.say(Size(120, 30))
        assert program.size == (120, 30)
        await until(lambda: ada.state.columns == 120)
        await until(lambda: ada.messages[-1][0] is MessageType.SCREEN)
        small = hub.open("small", Terms(follow_smallest=True))
        shrinking = MemoryProgram(small)
        sharer, ada = Watcher(hub, SHARER, "small"), Watcher(hub, ADA, "small")
        sharer.say(Size(120, 30))
        ada.say(Size(100, 40))
        assert shrinking.size == (100, 30)
        assert ada.viewer is not None
        ada.viewer.close()
        await until(lambda: shrinking.size == (120, 30))  # not at once again
        sharer.say(Size(10_000, 1))
        assert shrinking.size == (500, 2)
        sharer.say(Size(120, 30))
        Watcher(hub, BOB, "small").say(Size(1, 1))
        await until(lambda: shrinking.size == GUESTS_LEAST)  # which can still be used

    with_hub(main)


def test_one_guest_does_not_take_all_places() -> None:
    async def main(hub: Hub) -> None:
        MemoryProgram(hub.open("build", Terms()))
        ada = [Watcher(hub, ADA) for _ in range(MAX_OF_ONE)]
        with pytest.raises(RefusedError) as caught:
            Watcher(hub, ADA)
        assert caught.value.code is Code.BUSY
        Watcher(hub, BOB)
        assert ada[0].viewer is not None
        ada[0].viewer.close()
        Watcher(hub, ADA)
        for _ in range(MAX_OF_ONE + 1):
            Watcher(hub)

    with_hub(main)


def test_a_command_that_is_shown_can_be_pasted() -> None:
    async def main() -> None:
        told: list[str] = []
        hub = Hub(lambda kind, text="", **fields: told.append(text))
        terminal = hub.open("build", Terms())
        Watcher(hub, Identity("cc", "Ada L. (browser)")).ask()
        assert told[-1].endswith("(vshare terminal grant 'Ada L. (browser)')")
        terminal.ended("over")

    run(main)


def test_the_end_is_told_to_all_and_the_name_is_free_again() -> None:
    async def main(hub: Hub) -> None:
        terminal = hub.open("build", Terms())
        program = MemoryProgram(terminal)
        sharer, ada = Watcher(hub), Watcher(hub, ADA)
        ada.takes = False
        terminal.ended("the shell has ended")
        terminal.output(b"more")
        assert ada.end is not None
        assert ada.end.text == "the shell has ended"
        assert sharer.end is not None
        assert program.is_closed
        assert hub.names() == []
        ada.type(b"x")
        assert ada.messages[-1][0] is MessageType.END
        with pytest.raises(RefusedError, match="no terminal"):
            Watcher(hub, ADA)
        hub.open("build", Terms())

    with_hub(main)


def test_terminals_have_names() -> None:
    async def main(hub: Hub) -> None:
        for name in ("", "-x", "a b", "x" * 33, "a/b", "\x1b"):
            with pytest.raises(UsageError, match="name"):
                hub.open(name, Terms())
        hub.open("one", Terms())
        with pytest.raises(UsageError, match="already"):
            hub.open("one", Terms())
        hub.open("two", Terms())
        assert hub.names() == ["one", "two"]
        with pytest.raises(RefusedError, match="several"):
            Watcher(hub, ADA)
        with pytest.raises(RefusedError, match="'three'"):
            Watcher(hub, ADA, "three")

    with_hub(main)


def test_a_guest_says_only_what_guests_say() -> None:
    async def main(hub: Hub) -> None:
        terminal = hub.open("build", Terms())
        MemoryProgram(terminal)
        ada = Watcher(hub, ADA)
        with pytest.raises(RemoteProtocolError, match="DO"):
            do(ada, "unlock")
        assert ada.viewer is not None
        with pytest.raises(RemoteProtocolError, match="OUTPUT"):
            ada.viewer.receive(MessageType.OUTPUT, b"")
        with pytest.raises(RemoteProtocolError, match="has seen"):
            ada.say(Seen(10**6))

    with_hub(main)


def test_what_happens_is_told_and_so_is_who_types() -> None:
    async def main() -> None:
        told: list[str] = []
        boards: list[list[dict[str, Any]]] = []
        hub = Hub(lambda kind, text="", **fields: told.append(kind), boards.append)
        terminal = hub.open("build", READ_WRITE)
        MemoryProgram(terminal)
        sharer, ada = Watcher(hub), Watcher(hub, ADA)
        ada.type(b"x")
        await until(lambda: sharer.state.typing == "Ada")
        terminal.grant("Ada", write=False)
        ada.ask()
        terminal.grant("Ada", write=True)
        terminal.lock(locked=True)
        await until(
            lambda: boards[-1] and boards[-1][0]["locked"] and boards[-1][0]["viewers"] == 2
        )
        terminal.lock(locked=False)
        terminal.ended("over")
        assert boards[-1] == []
        assert told == [
            "terminal-opened",
            "terminal-viewer",
            "terminal-revoked",
            "terminal-asked",
            "terminal-granted",
            "terminal-locked",
            "terminal-unlocked",
            "terminal-ended",
        ]

    run(main)
