"""Copying, by programs that are here for the test, and by a terminal that is a file."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from connect_vm import clipboard
from connect_vm.clipboard import copy_text, osc52

LINK = "http://localhost:3000"


@pytest.fixture(autouse=True)
def _no_terminal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(clipboard, "TERMINAL", str(tmp_path / "none" / "tty"))
    monkeypatch.setenv("PATH", str(tmp_path))


def program(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_what_a_terminal_is_sent() -> None:
    sent = osc52(LINK)
    assert sent.startswith(b"\x1b]52;c;")
    assert base64.b64decode(sent[7:-1]).decode() == LINK
    assert sent.endswith(b"\x07")


def test_where_there_is_nothing() -> None:
    assert copy_text(LINK, {}) == []
    assert copy_text(LINK, {"TERM": "xterm", "DISPLAY": ":0"}) == []


def test_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = tmp_path / "tty"
    terminal.touch()
    monkeypatch.setattr(clipboard, "TERMINAL", str(terminal))
    assert copy_text(LINK, {"TERM": "dumb"}) == []
    assert copy_text(LINK, {"TERM": "xterm"}) == ["by the terminal, if it allows that"]
    assert terminal.read_bytes() == osc52(LINK)


def test_the_first_program_that_can(tmp_path: Path) -> None:
    program(tmp_path, "wl-copy", "exit 1")  # no compositor there
    program(tmp_path, "xclip", "exit 1")
    program(tmp_path, "xsel", f'read line; echo "$line" > {tmp_path}/copied')
    here = {"DISPLAY": ":0", "WAYLAND_DISPLAY": "wayland-0"}
    assert copy_text(f"{LINK}\n", here) == ["by xsel"]
    assert (tmp_path / "copied").read_text().strip() == LINK
    assert copy_text(LINK, {"WAYLAND_DISPLAY": "wayland-0"}) == []
