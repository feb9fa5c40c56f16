from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from connect_vm.cli import main
from tests.commands import Command

pytestmark = pytest.mark.programs  # it asks Python for libvirt in a process of its own


@pytest.fixture
def vconnect(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> Command:
    monkeypatch.setenv("PATH", str(tmp_path))  # Vagrant takes its time
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return Command("vconnect", main, monkeypatch, capfd)


def refusing() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def test_the_relay_is_the_connect_lines(vconnect: Command) -> None:
    place = f"127.0.0.1:{refusing()}"
    for arguments in (["frosty-weasel-0857@" + place], ["--relay", place]):
        outcome = vconnect("doctor", *arguments, "--json")
        assert outcome.code == 1
        events = list(map(json.loads, outcome.out.splitlines()))
        (tcp,) = [each for each in events if each.get("name") == "TCP connection"]
        assert tcp["text"] == f"{place}: connection refused"
        assert "WebSocket" not in {each.get("name") for each in events}  # guests use none


def test_without_a_relay(vconnect: Command) -> None:
    assert "none is configured" in vconnect("doctor").out


def test_what_cannot_be_meant(vconnect: Command) -> None:
    vconnect("doctor", "ab@127.0.0.1:1").check_error(2, "not a share's name")
    vconnect("doctor", "--relay", "https://x").check_error(2, "not an address")
    vconnect("doctor@127.0.0.1:0").check_error(2, "not a port")  # a share of that name


def test_help(vconnect: Command) -> None:
    assert "vconnect doctor [OPTIONS]" in vconnect("doctor", "-h").out
    assert "vconnect doctor" in vconnect("--help").out
