"""`vconnect terminal` as people use it: real programs in it, tmux for the terminals that they sit
at, and both screens compared cell by cell."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.share_pair import CODE
from tests.terminal_share import TerminalShare, terminal_share
from tests.tmux import Person, differences, here, person
from tunnel.identity import Role

pytestmark = [pytest.mark.programs, pytest.mark.usefixtures("default_signals")]

BIN = Path(sys.executable).parent
PLAIN = ["sh"]
KEYS = [";", "set", "-g", "assume-paste-time", "0"]  # tmux: keys that come at once are keys, too


@pytest.fixture
def share(tmp_path: Path) -> Iterator[TerminalShare]:
    with terminal_share(tmp_path) as running:
        yield running


def guest(
    share: TerminalShare, name: str, size: tuple[int, int] = (80, 24), *options: str
) -> AbstractContextManager[Person]:
    """Somebody who types the command in a shell, which stays."""
    words = " ".join((f"{BIN}/{share.command}", "--as", name, *options))
    command = f"PS1='mine> ' sh -c 'echo before; {words}; echo code $?; stty -a; exec cat'"
    socket = f"vshare-{os.getpid()}-{name}"
    return person(here, socket, command, size, environment(share))


def environment(share: TerminalShare) -> dict[str, str]:
    """Other tests' connections are not this one's."""
    runtime = share.folder / "run"
    runtime.mkdir(mode=0o700, exist_ok=True)
    return {"LANG": "C.UTF-8", "XDG_RUNTIME_DIR": str(runtime)}


def check_same(one: Person, other: Person) -> None:
    """Both show the same, down to colours and the cursor, soon."""
    one.wait_for(lambda: not differences(one.cells(), other.cells()))


def test_a_guest_who_looks_on(share: TerminalShare) -> None:
    share.open(PLAIN)
    with guest(share, "ada") as ada:
        ada.wait_for("You can look on, but not type")
        ada.wait_for("$")
        ada.press("Enter")
        ada.type("~.")
        ada.wait_for("You have left")
        ada.wait_for("code 0")
        assert "before" in ada.scrollback()


def test_typing_with_others(share: TerminalShare) -> None:
    share.open(PLAIN, read_write=True)
    with guest(share, "ada") as ada, guest(share, "bob") as bob:
        ada.wait_for("$")
        bob.wait_for("$")
        ada.type("echo $((6*7))")
        ada.press("Enter")
        bob.wait_for("42")
        check_same(ada, bob)
        bob.type("exit")
        bob.press("Enter")
        for one in (ada, bob):
            one.wait_for("The shell has ended.")
            one.wait_for("code 0")
            one.wait_for("icanon")
            assert "-icanon" not in "\n".join(one.scrollback())


@pytest.mark.parametrize("program", ["vim", "tmux"])
def test_full_screen_programs_on_terminals_of_all_sizes(
    share: TerminalShare, tmp_path: Path, program: str
) -> None:
    """The smallest decides; on a larger one the same is seen, and nothing beside it."""
    text = tmp_path / "text"
    text.write_text("".join(f"{number} Größe 漢字 e\u0301 ▒\n" for number in range(200)))
    inner = f"vshare-inner-{os.getpid()}"
    commands = {
        "vim": ["vim", "-u", "NONE", "-N", "-c", "set nu ruler mouse=a", str(text)],
        "tmux": ["tmux", "-L", inner, "-f", "/dev/null", "new", "sh", *KEYS],
    }
    share.open(commands[program], read_write=True, follow_smallest=True)
    with guest(share, "ada") as ada:
        ada.wait_for(lambda: len("".join(ada.screen())) > 200 or "[0]" in ada.screen()[-1])
        with guest(share, "bob", (100, 30)) as bob:
            check_corner(bob, ada, (80, 24))
            if program == "vim":
                assert ada.flags().split()[2] == "1", "no mouse"
                bob.type("10G")
                bob.press("Down", "End")
                bob.type("Ohello 漢")
                bob.press("Escape")
                ada.wait_for("hello 漢")
            else:
                bob.type("clear; seq 50")
                for key in ("Enter", "C-b", "%"):  # two panes; what comes at once is a paste
                    bob.press(key)
                ada.wait_for("│")
            check_corner(bob, ada, (80, 24))
            with guest(share, "eve", (60, 20)):  # smaller than they, so theirs gets as small
                check_corner(bob, ada, (60, 20))
            check_corner(bob, ada, (80, 24))
        if program == "tmux":
            ada.type("exit")
            ada.press("Enter")
            ada.wait_for(lambda: "│" not in "".join(ada.screen()))
            ada.type("exit")
            ada.press("Enter")
        else:
            ada.type(":q!")
            ada.press("Enter")
        ada.wait_for("code 0")
        ada.wait_for(lambda: ada.flags().split() == ["0", "0", "0", "1"])


def test_the_mouse_where_a_part_is_seen(share: TerminalShare, tmp_path: Path) -> None:
    """A click is on the cell that is there, also where a small terminal follows the cursor."""
    text = tmp_path / "text"
    text.write_text("".join(f"{number:02} {'漢字' * 15} {number:02}\n" for number in range(22)))
    share.open(["vim", "-u", "NONE", "-N", "-c", "set mouse=a", str(text)], read_write=True)
    with guest(share, "ada") as ada, guest(share, "bob", (30, 10)) as bob:
        ada.wait_for("21 漢")
        ada.type("20G$")
        bob.wait_for("字 19")
        assert "00 漢" not in "\n".join(bob.screen())
        bob.click_at("字 17")
        bob.type("rX")
        ada.wait_for("字 1X")


def check_corner(larger: Person, one: Person, size: tuple[int, int]) -> None:
    """`larger` shows the shared screen in its corner, as `one` does, and dots beside it."""
    rows = size[1]

    def is_same() -> bool:
        seen = [row[: len(row.rstrip("·"))].rstrip() for row in larger.screen()]
        want = [row[: len(row.rstrip("·"))].rstrip() for row in one.screen()]
        return (
            seen[:rows] == want[:rows]
            and "".join(larger.screen()[rows:]).strip("·") == ""
            and larger.cells()[-1] == one.cells()[-1]
        )

    try:
        larger.wait_for(is_same)
    except AssertionError:
        raise AssertionError("\n".join(differences(larger.screen(), one.screen()))) from None


def test_a_late_guest_sees_the_present_and_may_scroll_back(share: TerminalShare) -> None:
    share.open(PLAIN, read_write=True)
    with guest(share, "ada") as ada:
        ada.wait_for("$")
        ada.type("seq 60")
        ada.press("Enter")
        ada.wait_for("60")
        with guest(share, "bob") as bob:
            bob.wait_for("60")
            check_same(ada, bob)
            rows = bob.scrollback()
            at = rows.index("30")
            assert rows[at : at + 30] == [str(number) for number in range(30, 60)]
            assert "before" in rows[:at]


def test_rights_come_and_go(share: TerminalShare) -> None:
    terminal = share.open(PLAIN)
    with guest(share, "ada") as ada:
        ada.wait_for("$")
        ada.type("not this")
        ada.wait_for("You can look on, but not type")
        ada.press("Enter")
        ada.type("~a")
        ada.wait_for("The sharer is asked")
        assert share.pair.told("terminal-asked")
        share.do(lambda: terminal.grant("ada", write=True))
        ada.wait_for("You may type now.")
        ada.type("echo th''is")
        ada.press("Enter")
        ada.wait_for("this")
        assert "not this" not in "".join(ada.screen())
        share.do(lambda: terminal.lock(locked=True))
        ada.wait_for("locked the terminal")
        share.do(lambda: terminal.lock(locked=False))
        ada.wait_for("has unlocked it")
        share.do(lambda: terminal.grant("ada", write=False))
        ada.wait_for("You may not type any more.")
        ada.press("Enter")
        ada.type("~?")
        ada.wait_for("ask for the right to type")


def test_a_line_that_waits_for_the_sharer(share: TerminalShare) -> None:
    terminal = share.open(PLAIN, read_write=True, hold=True)
    with guest(share, "ada") as ada:
        ada.wait_for("$")
        ada.type("echo $((6*7))")
        ada.wait_for("> echo $((6*7))")
        ada.press("Enter")
        ada.wait_for("(waits for the sharer's key)")
        assert "42" not in "".join(ada.screen())
        share.do(lambda: terminal.judge("ada", release=True))
        ada.wait_for("42")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGHUP])
def test_the_terminal_is_as_it_was_when_it_was_killed(share: TerminalShare, number: int) -> None:
    share.open(["vim", "-u", "NONE", "-N", "-c", "set mouse=a"], read_write=True)
    with guest(share, "ada") as ada:
        ada.wait_for("~")
        ada.wait_for(lambda: ada.flags().split()[0] == "1")
        (vconnect,) = here(["pgrep", "-P", str(ada.pid())]).split()
        os.kill(int(vconnect), number)
        if number != signal.SIGKILL:  # else the shell's next words may be on the other screen
            ada.wait_for("code 130")
        ada.wait_for(lambda: ada.flags().split() == ["0", "0", "0", "1"])
        ada.wait_for(lambda: "-icanon" not in ada.line())


def test_the_way_is_lost_and_found(share: TerminalShare) -> None:
    """What is typed meanwhile arrives."""
    share.open(PLAIN, read_write=True)
    with guest(share, "ada") as ada:
        ada.wait_for("$")
        (one,) = share.pair.guests.of_role(Role.GUEST)
        with share.away():
            share.lose(one)
            ada.wait_for("The connection is lost")
            ada.type("echo $((7*7))")
            ada.press("Enter")
        ada.wait_for("49")
        ada.wait_for(lambda: "lost" not in "".join(ada.screen()))


@pytest.mark.parametrize("words", ["</dev/null", "| cat", ">/dev/null"])
def test_without_a_terminal(share: TerminalShare, words: str) -> None:
    command = f"{BIN}/{share.command} {words}"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert "is no terminal" in done.stderr
    assert not share.pair.joined


def test_a_terminal_that_is_not_there(share: TerminalShare) -> None:
    with guest(share, "ada") as ada:
        ada.wait_for("no terminal is shared")
        ada.wait_for("code 1")
    share.open(PLAIN, "one")
    share.open(PLAIN, "two")
    with guest(share, "bob") as bob:
        bob.wait_for("there are several terminals")
        bob.wait_for("code 1")
    with guest(share, "eve", (80, 24), "--terminal", "two") as eve:
        eve.wait_for("$")


def test_beside_a_connection_that_runs(share: TerminalShare) -> None:
    """No code is asked for, and it is the same guest."""
    share.open(PLAIN, read_write=True)
    code = share.folder / "code"
    code.write_text(CODE)
    command = [f"{BIN}/vconnect", "--disable-static-ip", "--relay-only", "--as", "ada", "--json"]
    with subprocess.Popen(
        [*command, "--code-file", str(code), share.line],
        stdout=subprocess.PIPE, text=True, env=os.environ | environment(share),
    ) as running:  # fmt: skip
        try:
            assert running.stdout is not None
            while '"running"' not in running.stdout.readline():
                assert running.poll() is None
            list_it = [f"{BIN}/vconnect", "terminals"]
            wanted = os.environ | environment(share)
            said = subprocess.run(list_it, env=wanted, capture_output=True, text=True, check=True)
            assert "main" in said.stdout
            words = f"sh -c '{BIN}/vconnect terminal; echo code $?; exec cat'"
            with person(here, f"vshare-{os.getpid()}-ada", words, (80, 24), wanted) as ada:
                ada.wait_for("$")
                ada.type("echo $((6*7))")
                ada.press("Enter")
                ada.wait_for("42")
                (one,) = share.pair.guests.of_role(Role.GUEST)
                share.lose(one)
                ada.wait_for(lambda: share.pair.streams.terminals.all()[0].viewers)
                ada.type("echo $((7*7))")
                ada.wait_for(lambda: "49" in pressed(ada))
                ada.type("exit")
                ada.press("Enter")
                ada.wait_for("code 0")
        finally:
            running.send_signal(signal.SIGINT)
            running.communicate(timeout=20)


def pressed(one: Person) -> str:
    """The screen after Enter: what was typed before it was known that the way is lost, is, too."""
    one.press("Enter")
    one.type("echo $((7*7))")
    one.press("Enter")
    return "".join(one.screen())
