from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from tests.commands import Command
from vshare.cli import main

pytestmark = pytest.mark.programs  # it asks Python for libvirt in a process of its own


@pytest.fixture
def vshare(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> Command:
    monkeypatch.setenv("PATH", str(tmp_path))  # Vagrant takes its time
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return Command("vshare", main, monkeypatch, capfd)


def refusing() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def test_without_a_relay(vshare: Command) -> None:
    outcome = vshare("doctor")
    assert (outcome.code, outcome.err) == (0, "")
    assert "name one with --relay or in VSHARE_RELAY" in outcome.out
    assert "warning  Vagrant          not found" in outcome.out
    assert "all is well, as far as can be seen without a relay" in outcome.out


def test_a_relay_out_of_reach(vshare: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    place = f"127.0.0.1:{refusing()}"
    monkeypatch.setenv("VSHARE_RELAY", place)
    outcome = vshare("doctor", "--json")
    assert outcome.code == 1
    *steps, verdict = map(json.loads, outcome.out.splitlines())
    assert {step["event"] for step in steps} == {"step"}
    assert verdict["event"] == "verdict"
    assert not verdict["ok"]
    assert place in verdict["tell"]


def test_what_cannot_be_meant(vshare: Command) -> None:
    vshare("doctor", "--relay", "https://x").check_error(2, "not an address")
    vshare("doctor", "what").check_error(2, "unexpected extra argument")
