"""`vconnect terminal` as people use it: real programs in it, tmux for the terminals that they sit
at, and both screens compared cell by cell."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.terminal_share import TerminalShare, terminal_share
from tests.tmux import Person, differences, here, person

pytestmark = pytest.mark.programs

BIN = Path(sys.executable).parent
PLAIN = ["sh"]


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
    return person(here, socket, command, size, {"LANG": "C.UTF-8"})


def check_same(one: Person, other: Person) -> None:
    """Both show the same, down to colours and the cursor, soon."""
    one.wait_for(lambda: not differences(one.cells(), other.cells()))


def test_a_guest_who_looks_on(share: TerminalShare) -> None:
    share.open(PLAIN)
    with guest(share, "ada") as ada:
        ada.wait_for("$")
        ada.wait_for("You can look on, but not type")
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
            assert "icanon" in "\n".join(one.scrollback())
            assert "-icanon" not in "\n".join(one.scrollback())
