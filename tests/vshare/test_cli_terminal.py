"""`vshare terminal`'s words and options, against a control socket in another thread."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import click
import pytest

from tests.commands import Command
from tests.vshare.test_cli_running import NAME, Party, serving
from tunnel.command import run_command
from tunnel.control_socket import on
from vshare import cli_terminal
from vshare.requests import Request
from vshare.terminals import requests
from vshare.terminals.requests import OneTerminal, TerminalList, TerminalRow, ViewerRow


class Terminals(Party):
    """Answers as a share with two terminals would."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Request] = []
        self.handlers = dict(
            [
                on(requests.Terminals, self._list),
                on(requests.LockTerminal, self._one),
                on(requests.GrantTerminal, self._one),
                on(requests.EndTerminal, self._one),
            ]
        )

    async def _list(self, request: requests.Terminals) -> object:
        viewers = [
            ViewerRow("ada", write=True),
            ViewerRow("bob\x1b[2J", asks=True),
            ViewerRow("eve", held="reboot"),
        ]
        return TerminalList(
            [
                TerminalRow("shell", 80, 24, False, False, True, "/tmp/one.cast", viewers),
                TerminalRow("build", 120, 40, True, True, False, "", []),
            ]
        )

    async def _one(
        self, request: requests.LockTerminal | requests.GrantTerminal | requests.EndTerminal
    ) -> object:
        self.asked.append(request)
        return OneTerminal(request.name or "shell")


@pytest.fixture
def party(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Terminals]:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    made = Terminals()
    with serving(made, NAME):
        yield made


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    group = click.Group("vshare", commands=cli_terminal.COMMANDS)

    def main() -> NoReturn:
        run_command(group, "vshare", "vshare")

    return Command("vshare", main, monkeypatch, capfd)


def test_list(terminal: Command, party: Terminals) -> None:
    rows = [row.split("  ") for row in terminal("terminal", "--list").out.splitlines()]
    said = "\n".join(" | ".join(filter(None, map(str.strip, row))) for row in rows)
    assert said == (
        f"2 terminals of {NAME}\n"
        "shell | 80x24 | read-only, lines wait for you, recorded to /tmp/one.cast\n"
        "ada | may type\n"
        "bob\ufffd[2J | asks to type\n"
        "eve | looks on | waits with: reboot\n"
        "build | 120x40 | read-write, locked"
    )
    found = json.loads(terminal("terminal", "--list", "--json").out)
    assert found["share"] == NAME
    assert len(found["terminals"]) == 2


def test_what_is_done_to_one(terminal: Command, party: Terminals) -> None:
    assert "Guests cannot type in the terminal 'shell'." in terminal("terminal", "--lock").err
    assert "as before in the terminal 'build'" in terminal("terminal", "build", "--unlock").err
    assert "ada may type" in terminal("terminal", "grant", "ada").err
    given = terminal("terminal", "revoke", "ada", "--terminal", "build")
    assert "ada may not type any more in the terminal 'build'" in given.err
    assert "'shell' has ended" in terminal("terminal", "end").err
    assert "'build' has ended" in terminal("terminal", "end", "build").err
    assert party.asked == [
        requests.LockTerminal("", True),
        requests.LockTerminal("build", False),
        requests.GrantTerminal("ada", "", True),
        requests.GrantTerminal("ada", "build", False),
        requests.EndTerminal(""),
        requests.EndTerminal("build"),
    ]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("grant",), "one guest's name"),
        (("revoke", "ada", "bob"), "one guest's name"),
        (("end", "a", "b"), "a terminal's name at most"),
        (("a", "b"), "one name"),
        (("a", "--terminal", "b"), "one name"),
        (("--read-write", "--read-only"), "exclude each other"),
        (("--lock", "--unlock"), "exclude each other"),
    ],
)
def test_what_cannot_be_meant(
    terminal: Command, party: Terminals, words: tuple[str, ...], text: str
) -> None:
    terminal("terminal", *words).check_error(2, text)
    assert not party.asked


def test_it_takes_a_terminal_to_sit_at(terminal: Command, party: Terminals) -> None:
    terminal("terminal").check_error(2, "is no terminal")
