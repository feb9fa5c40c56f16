"""`vshare terminal` as people use it: shells of a real SSH server, full-screen programs, guests
beside the sharer, all of them at terminals that are tmux, and their screens compared."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.sharer import SharersShare, sharers_share
from tests.tmux import Person, differences, here, person
from tests.vshare.peers import openssh
from tunnel.vt.drawing import row_text
from tunnel.vt.screen import Screen

pytestmark = pytest.mark.programs

WIDEST = 200  # columns
BIN = Path(sys.executable).parent
_NUMBERS = itertools.count()  # each tmux has a socket of its own, since the last may still be there


@pytest.fixture
def share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SharersShare]:
    run = tmp_path / "run"
    run.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(run))
    with openssh(tmp_path) as server, sharers_share(tmp_path, server.access) as running:
        yield running


def at(share: SharersShare, name: str, words: str) -> AbstractContextManager[Person]:
    """Somebody who types `words` in a shell that stays."""
    command = f"PS1='mine> ' sh -c '{words}; echo code $?; exec cat'"
    environment = {"LANG": "C.UTF-8", "XDG_RUNTIME_DIR": os.environ["XDG_RUNTIME_DIR"]}
    socket = f"vshare-{os.getpid()}-{next(_NUMBERS)}-{name}"
    return person(here, socket, command, (80, 24), environment)


def sharer(share: SharersShare, *options: str) -> AbstractContextManager[Person]:
    return at(share, "sharer", f"{BIN}/vshare terminal {' '.join(options)}")


def guest(share: SharersShare, name: str) -> AbstractContextManager[Person]:
    return at(share, name, f"{BIN}/{share.guests_command} --as {name}")


def command(*words: str) -> str:
    """What `vshare terminal` prints."""
    done = subprocess.run(
        [BIN / "vshare", "terminal", *words], capture_output=True, text=True, check=False
    )
    return done.stdout + done.stderr


def plain_shell(one: Person) -> None:
    """Whatever the user's own shell is, and however it greets."""
    one.wait_for("Enter ~ ?")
    one.type("exec sh")
    one.press("Enter")
    one.type("PS1='$ '; export LC_ALL=C.UTF-8; cd /; clear")
    one.press("Enter")
    one.wait_for(lambda: one.screen()[0] == "$")


def check_same(one: Person, other: Person) -> None:
    """Both show the same, down to colours and the cursor, soon."""
    try:
        one.wait_for(lambda: not differences(cells(one), cells(other)))
    except AssertionError:
        raise AssertionError(differences(cells(one), cells(other))) from None


def cells(one: Person) -> list[str]:
    """Rows with their colours, and the cursor. Read by a screen of our own: tmux tells where it
    changes colours, which it may do in blanks that nobody sees."""
    *rows, cursor = one.cells()
    screen = Screen(WIDEST, len(rows))
    screen.feed("\r\n".join(rows).encode())
    return [*map(row_text, screen.lines), cursor]


def test_the_sharer_shows_a_shell_and_it_ends_for_all(share: SharersShare) -> None:
    with sharer(share) as owner:
        plain_shell(owner)
        with guest(share, "ada") as ada:
            ada.wait_for("$")
            owner.wait_for("ada looks on")
            owner.type('echo $TERM $((6*7)); printf "\\033[1;31mr\\303\\251d \\346\\274\\242\\n"')
            owner.press("Enter")
            ada.wait_for("xterm-256color 42")
            check_same(owner, ada)
            ada.press("x")
            ada.wait_for("You can look on")
            owner.type("exit 3")
            owner.press("Enter")
            for one in (owner, ada):
                one.wait_for("exit status 3")
                one.wait_for("code 0")
    assert share.pair.streams.terminals.names() == []


@pytest.mark.parametrize("program", ["vim", "top", "tmux", "less"])
def test_full_screen_programs_and_who_comes_in_the_middle(
    share: SharersShare, tmp_path: Path, program: str
) -> None:
    text = tmp_path / "text"
    text.write_text("".join(f"line {number} \u6f22\u5b57\n" for number in range(100)))
    inner = f"vshare-{os.getpid()}-inner"
    commands = {
        "vim": f"vim -u NONE -N {text}",
        "top": "top -d 100",
        "tmux": f"tmux -L {inner} -f /dev/null new-session sh",
        "less": f"less {text}",
    }
    with contextlib.ExitStack() as stack:
        stack.callback(
            subprocess.run, ["tmux", "-L", inner, "kill-server"], stderr=subprocess.DEVNULL
        )
        owner = stack.enter_context(sharer(share))
        plain_shell(owner)
        owner.type(commands[program])
        owner.press("Enter")
        owner.wait_for(lambda: len([row for row in owner.screen() if row]) > 5 or program == "tmux")
        with guest(share, "ada") as ada:
            ada.wait_for(lambda: any(ada.screen()))
            owner.wait_for(lambda: "ada" not in "".join(owner.screen()))
            ada.wait_for(lambda: "look on" not in "".join(ada.screen()))
            check_same(owner, ada)
            owner.press(*{"vim": ["G", "i", "x", "Escape"], "less": ["G"]}.get(program, ["Space"]))
            check_same(owner, ada)
            owner.resize(100, 30)
            ada.resize(100, 30)
            check_same(owner, ada)
            if program == "tmux":
                owner.type("exit")
                owner.press("Enter")
            else:
                owner.type(":q!\n" if program == "vim" else "q")
            owner.wait_for(lambda: any(row == "$" for row in owner.screen()))
            check_same(owner, ada)


def test_rights_from_another_terminal_and_from_this_one(share: SharersShare) -> None:
    with contextlib.ExitStack() as stack:
        owner = stack.enter_context(sharer(share, "--read-only"))
        plain_shell(owner)
        ada = stack.enter_context(guest(share, "ada"))
        ada.wait_for("$")
        ada.press("Enter")
        ada.type("~a")
        owner.wait_for("ada asks to type")
        owner.press("Enter")
        owner.type("~g")
        ada.wait_for("You may type now")
        ada.type("echo by $((1+1)) ada")
        ada.press("Enter")
        owner.wait_for("by 2 ada")
        assert "Guests cannot type" in command("--lock")
        ada.wait_for("has locked")
        ada.type("echo $((40+4))")
        ada.press("Enter")
        assert "Guests can type as before" in command("--unlock")
        ada.wait_for("has unlocked")
        listed = json.loads(command("--list", "--json"))["terminals"][0]
        assert [(each["name"], each["write"]) for each in listed["viewers"]] == [("ada", True)]
        assert "may not type" in command("revoke", "ada")
        ada.wait_for("You may not type any more")
        assert "44" not in "\n".join(owner.scrollback())
        assert "who does: ada" in command("grant", "bob")
        assert "has ended" in command("end")
        owner.wait_for("code 0")
        ada.wait_for("code 0")


def test_a_guests_line_waits_for_the_sharers_key(share: SharersShare) -> None:
    with contextlib.ExitStack() as stack:
        owner = stack.enter_context(sharer(share, "--read-write", "--hold-enter"))
        plain_shell(owner)
        ada = stack.enter_context(guest(share, "ada"))
        ada.wait_for("$")
        ada.type("echo $((6*7))")
        ada.wait_for("> echo $((6*7))")
        ada.press("Enter")
        owner.wait_for("ada wants to run:\n > echo $((6*7))")
        assert not any(row.endswith("42") for row in owner.screen())
        owner.press("Enter")
        owner.type("~y")
        owner.wait_for(lambda: any(row.endswith("42") for row in owner.screen()))
        ada.type("echo $((5*9))")
        ada.press("Enter")
        owner.wait_for("wants to run")
        owner.press("Enter")
        owner.type("~n")
        owner.wait_for(lambda: "wants to run" not in "\n".join(owner.screen()))
        assert not any(row.endswith("45") for row in owner.screen())


def test_it_goes_on_where_the_sharer_wants_that_and_ends_where_not(share: SharersShare) -> None:
    with sharer(share) as owner:
        plain_shell(owner)
        owner.type("echo kept")
        owner.press("Enter")
        owner.type("~d")
        owner.wait_for("it goes on")
    with sharer(share) as owner:
        owner.wait_for("kept")
        owner.press("Enter")
        owner.type("~.")
        owner.wait_for("has ended, for everybody")
    with sharer(share, "other") as owner:
        plain_shell(owner)
    deadline = time.monotonic() + 20
    while share.pair.streams.terminals.names():  # its window was closed
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_recording_can_be_played(share: SharersShare, tmp_path: Path) -> None:
    file = tmp_path / "session.cast"
    with sharer(share, f"--record {file}") as owner:
        plain_shell(owner)
        owner.type("echo $((6*7))")
        owner.press("Enter")
        owner.wait_for("42")
        owner.type("exit")
        owner.press("Enter")
        owner.wait_for("code 0")
    header, *events = map(json.loads, file.read_text().splitlines())
    assert (header["version"], header["width"], header["height"]) == (2, 80, 24)
    assert "\r\n42\r\n" in "".join(event[2] for event in events if event[1] == "o")
    assert file.stat().st_mode & 0o777 == 0o600
