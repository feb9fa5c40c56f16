"""`vshare page`, against a control socket in another thread."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import click
import pytest

from tests.commands import Command
from tests.vshare.test_cli_running import Party, _places, serving
from tunnel.command import run_command
from tunnel.control_socket import on
from vshare import cli_page
from vshare.guest_page.requests import ChangePage, GuestPage, PageState

__all__ = ["_places"]
URL = "https://frosty-weasel-0857--join.relay.example/"
OLD, DRAWN = "the-old-passcode", "k7mq-2xdp"


class Page(Party):
    """Of a share with a guest page; `asked` are its changes."""

    def __init__(self) -> None:
        super().__init__()
        self.handlers = dict([on(GuestPage, self._state), on(ChangePage, self._change)])

    async def _state(self, request: GuestPage) -> object:
        return PageState(URL, OLD, True, 1, 2)

    async def _change(self, request: ChangePage) -> object:
        self.asked.append(request)
        passcode = OLD if request.passcode is None else request.passcode or DRAWN
        return PageState(
            URL, passcode, request.is_open is not False, 0, 0, 0 if request.keep else 2
        )


@pytest.fixture
def page() -> Iterator[Page]:
    page = Page()
    with serving(page):
        yield page


@pytest.fixture
def vshare(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    group = click.Group("vshare", commands=list(cli_page.COMMANDS))

    def main() -> NoReturn:
        run_command(group, "vshare", "vshare")

    return Command("vshare", main, monkeypatch, capfd)


def test_it_is_shown(vshare: Command, page: Page) -> None:
    outcome = vshare("page")
    assert outcome.code == 0
    assert URL in outcome.out
    assert OLD in outcome.out
    assert "1 of 2 who are in by it are there now" in outcome.err
    told = json.loads(vshare("page", "--json").out)
    assert (told["passcode"], told["is_open"], told["visitors"]) == (OLD, True, 2)
    assert page.asked == []


def test_another_passcode(vshare: Command, page: Page, tmp_path: Path) -> None:
    drawn = vshare("page", "--rotate")
    assert DRAWN in drawn.out
    assert "The old one is void; 2 visitors are out." in drawn.err
    file = tmp_path / "new"
    file.write_text("a-passcode-of-mine\n")
    kept = vshare("page", "--passcode-file", str(file), "--keep")
    assert "a-passcode-of-mine" in kept.out
    assert "Who is in stays." in kept.err
    assert page.asked == [ChangePage(""), ChangePage("a-passcode-of-mine", keep=True)]


def test_closed_and_opened(vshare: Command, page: Page) -> None:
    closed = vshare("page", "--off")
    assert "It is closed; 2 visitors are out; `vshare page --on` opens it again." in closed.err
    assert OLD not in closed.out
    assert OLD in vshare("page", "--on").out
    assert page.asked == [ChangePage(is_open=False), ChangePage(is_open=True)]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--rotate", "--passcode"], "contradict"),
        (["--on", "--off"], "contradict"),
        (["--keep"], "--keep is for a new passcode"),
    ],
)
def test_what_cannot_be_meant(vshare: Command, page: Page, options: list[str], text: str) -> None:
    outcome = vshare("page", *options)
    assert outcome.code == 2
    assert text in outcome.err
    assert page.asked == []
