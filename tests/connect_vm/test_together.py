"""Working together, as people do it: `vshare` and `vconnect` as processes on one host."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import threading
import webbrowser
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from connect_vm import cli as connect_cli
from connect_vm import clipboard
from tests.commands import Command, Outcome, end, started, wait_for
from vshare import cli as share_cli

pytestmark = pytest.mark.programs


@pytest.fixture(autouse=True)
def _own_directories(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


class Terminals:
    """Commands in other terminals, which are in this process: what they print with --json."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
        self._vshare = Command("vshare", share_cli.main, monkeypatch, capfd)
        self._vconnect = Command("vconnect", connect_cli.main, monkeypatch, capfd)

    def vshare(self, *arguments: str, code: int = 0) -> dict[str, Any]:
        return _answer(self._vshare(*arguments, "--json"), code)

    def vconnect(self, *arguments: str, code: int = 0) -> dict[str, Any]:
        return _answer(self._vconnect(*arguments, "--json"), code)


def _answer(outcome: Outcome, code: int) -> dict[str, Any]:
    assert outcome.code == code, outcome
    assert "Traceback" not in outcome.err
    answer: dict[str, Any] = json.loads(outcome.out.splitlines()[-1])
    return answer


@pytest.fixture
def terminals(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Terminals:
    return Terminals(monkeypatch, capfd)


@contextlib.contextmanager
def echo_service() -> Iterator[int]:
    """A port of this host that sends back what comes."""

    def serve(sock: socket.socket) -> None:
        with contextlib.suppress(OSError), sock:
            while data := sock.recv(1024):
                sock.sendall(data)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=serve, args=listener.accept()[:1], daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def event(process: subprocess.Popen[str], kind: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(wait_for(process, f'"event": "{kind}"', on_stdout=True)[-1])
    return found


@contextlib.contextmanager
def shared(*options: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """`vshare up` of this host, with a relay in it."""
    arguments = ("up", "--target", "127.0.0.1", "--disable-http", "--json", *options)
    with started("vshare.cli", *arguments) as process:
        yield process, event(process, "started")


@contextlib.contextmanager
def connected(
    share: dict[str, Any], tmp_path: Path, name: str, *options: str
) -> Iterator[subprocess.Popen[str]]:
    code = tmp_path / "code"
    code.write_text(share["code"])
    with started(
        "connect_vm.cli",
        share["connect"],
        "--disable-static-ip",
        "--json",
        *("--code-file", str(code), "--as", name, *options),
    ) as process:
        event(process, "running")
        yield process


def test_servers_from_both_sides(tmp_path: Path, terminals: Terminals) -> None:
    vshare, vconnect = terminals.vshare, terminals.vconnect
    with (
        echo_service() as port,
        shared("--only-served", "--serve", f"{port}=echo") as (sharer, share),
        connected(share, tmp_path, "bob") as guest,
    ):
        (row,) = vconnect("servers")["servers"]
        assert (row["name"], row["port"]) == ("echo", port)
        with socket.create_connection(("localhost", row["local"]), 10) as sock:
            sock.sendall(b"hello")
            assert sock.recv(9) == b"hello"
            taken = vshare("unserve", "echo")
            assert (taken["cut"], taken["is_open"]) == (1, False)
            with contextlib.suppress(ConnectionResetError):
                assert sock.recv(9) == b""
        assert event(guest, "servers") == {"event": "servers", "servers": []}
        assert vconnect("servers")["servers"] == []
        vshare("serve", str(port), "--name", "again")
        local = event(guest, "servers")["servers"][0]["local"]
        mapped = vconnect("map", "again", "0", code=2)
        assert "not a port" in mapped["text"]
        assert vconnect("map", "again", str(local))["server"]["local"] == local
        assert vconnect("unmap", "again")["server"]["local"] == 0
        assert vconnect("open", "again", code=2)["hint"] == "`vconnect map again` gives it one"
        assert vconnect("copy", "nothing", code=2)["hint"] == "those that are: again"
        assert vshare("servers")["servers"] == [{"name": "again", "port": port, "scheme": ""}]
        assert vshare("serve", str(port), code=2)["hint"] == "`vshare unserve again` takes it back"
        end(guest, signal.SIGINT)
        assert vconnect("servers", code=1)["text"] == "no connection runs here"
        end(sharer, signal.SIGINT)


def test_the_browser_and_the_clipboard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, terminals: Terminals
) -> None:
    vconnect = terminals.vconnect
    monkeypatch.setattr(clipboard, "TERMINAL", str(tmp_path / "none" / "tty"))
    monkeypatch.setattr(webbrowser, "_tryorder", None)
    browser, opened = tmp_path / "browser", tmp_path / "opened"
    browser.write_text(f'#!/bin/sh\necho "$1" > {opened}\n')
    program, copied = tmp_path / "wl-copy", tmp_path / "copied"
    program.write_text(f"#!/bin/sh\ncat > {copied}\n")
    for each in (browser, program):
        each.chmod(0o755)
    monkeypatch.setenv("BROWSER", f"{browser} %s")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with (
        echo_service() as port,
        shared("--serve", f"{port}=echo") as (_, share),
        connected(share, tmp_path, "bob"),
    ):
        (row,) = vconnect("servers")["servers"]
        assert vconnect("open", "echo")["url"] == row["url"]
        assert opened.read_text().strip() == row["url"]
        monkeypatch.setenv("WAYLAND_DISPLAY", "wayland-0")
        assert vconnect("copy", "echo")["copied"] == ["by wl-copy"]
        assert copied.read_text() == f"localhost:{row['local']}"
        monkeypatch.setenv("WAYLAND_DISPLAY", "")
        monkeypatch.setenv("DISPLAY", "")
        assert "yourself" in vconnect("copy", "echo", code=1)["hint"]


def test_guests_hear_the_sharer_and_see_each_other(tmp_path: Path, terminals: Terminals) -> None:
    vshare, vconnect = terminals.vshare, terminals.vconnect
    with (
        shared("--show-guests") as (sharer, share),
        connected(share, tmp_path, "bob") as bob,
        connected(share, tmp_path, "ann", "--no-localhost") as ann,
    ):
        assert event(bob, "guests")["guests"] == ["ann"]
        label = f"{share['name']}.2"
        assert vconnect("guests", "--share", label)["guests"] == ["bob"]
        assert "2 connections run" in vconnect("guests", code=2)["text"]
        assert vshare("say", "restarting \x1b[31m the db")["guests"] == 2
        for guest in (bob, ann):
            assert event(guest, "said")["text"] == "restarting \x1b[31m the db"
        assert event(sharer, "said")["words"] == "restarting \x1b[31m the db"
        vshare("kick", "ann")
        assert event(bob, "guests")["guests"] == []
        assert "\x1b" not in end(bob, signal.SIGINT).err
