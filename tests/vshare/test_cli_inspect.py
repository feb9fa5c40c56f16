from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import NoReturn

import pytest

from tests.commands import Command
from tests.vshare.peers import openssh
from tests.vshare.weaknesses.servers import redis_server
from tunnel.command import run_command
from vshare.cli_inspect import inspect

pytestmark = pytest.mark.programs

TARGET = "127.0.0.1"


def main() -> NoReturn:
    run_command(inspect, "vshare inspect", "vshare")


@pytest.fixture
def vshare_inspect(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    return Command("vshare inspect", main, monkeypatch, capfd)


def test_what_cannot_be_meant(vshare_inspect: Command) -> None:
    vshare_inspect("web", "--target", TARGET).check_error(2, "more than one machine is named")


@pytest.mark.skipif(shutil.which("redis-server") is None, reason="no Redis is installed")
def test_a_danger_is_reported_and_no_failure(
    vshare_inspect: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / ".ssh"
    home.mkdir(mode=0o700)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    with openssh(home) as sshd, redis_server() as port:
        (home / "user_key").rename(home / "id_ed25519")
        target = f"ssh://{sshd.access}"
        as_json = vshare_inspect("--target", target, "--json")
        in_words = vshare_inspect("--target", target)
        ssh_port = sshd.access.port
    assert (as_json.code, in_words.code) == (0, 0)
    event = json.loads(as_json.out)
    assert event["event"] == "exposure"
    mine = [each for each in event["dangers"] if each["port"] == port]
    assert [each["title"] for each in mine] == ["Redis without a password"]
    assert mine[0]["state"] == "closed"  # reached at its loopback, where it was hidden
    assert event["vagrant_key"] is False
    [ssh] = [each for each in event["listening"] if each["port"] == ssh_port]
    assert (ssh["process"], ssh["text"]) == ("sshd", "loopback only")
    assert f"port {port} is Redis without a password, which guests do not reach" in in_words.out
    assert "Guests would reach " in in_words.out


def test_without_ssh_the_usual_ports_are_asked(vshare_inspect: Command) -> None:
    outcome = vshare_inspect("--target", TARGET)
    assert outcome.code == 0
    assert "What listens on it is not known" in outcome.out
