"""A relay that wants tokens, and shares there, as their people run them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.terminal import Terminal
from tests.test_commands import BIN, WAIT, Command, Desk, desk_in

pytestmark = pytest.mark.programs

TRIES = 20  # of starting a share, each takes longer than the relay's look


class Stage:
    """One relay with accounts, its operator, its sharers; all with one home."""

    def __init__(self, desk: Desk, folder: Path) -> None:
        self.desk = desk
        self._state = ("--state-dir", str(folder / "relay"))
        self.relay: Command
        self.address = ""

    def start_relay(self, *options: str) -> None:
        where = ("--listen", "127.0.0.1:0", *self._state)
        self.relay = self.desk.start("vrelay", "serve", "--json", "-v", *where, *options)
        self.address = self.relay.wait_for("serving")["relay"]

    def operator(self, *words: str) -> dict[str, Any]:
        done = self.run("vrelay", *words, "--json", *self._state)
        answer = json.loads(done.stdout)
        assert isinstance(answer, dict)
        return answer

    def run(
        self, *command: str, said: str = "", code: int = 0, folder: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [str(BIN / command[0]), *command[1:]],
            input=said,
            capture_output=True,
            text=True,
            env=self.desk.environment,
            cwd=folder,
            timeout=WAIT,
            check=False,
        )
        assert done.returncode == code, done.stderr
        return done

    def share(self, *options: str) -> Command:
        """One that is up. The relay looks twice a second for tokens that are new."""
        for _ in range(TRIES):
            share = self.begin(*options)
            try:
                share.wait_for("started")
            except AssertionError:
                assert "wants a token" in share.wait_for("error")["text"]
            else:
                return share
        raise AssertionError("the relay does not hear of a new token")

    def begin(self, *options: str) -> Command:
        where = ("--target", "127.0.0.1", "--disable-http", "--relay", self.address)
        return self.desk.start("vshare", "up", "--json", "-v", *where, *options)

    def refused(self, *options: str) -> str:
        share = self.begin(*options)
        told = share.wait_for("error")
        assert share.process.wait(WAIT) == 1
        return f"{told['text']}; {told['hint']}"


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with desk_in(tmp_path) as desk:
        yield Stage(desk, tmp_path)


def test_tokens_are_wanted_stored_limited_and_revoked(stage: Stage, tmp_path: Path) -> None:
    stage.start_relay("--accounts")
    assert "wants a token" in (said := stage.refused())
    assert "vshare login" in said

    stage.operator("user", "create", "bob")
    made = stage.operator("token", "create", "--user", "bob", "--shares", "1")
    stage.run("vshare", "login", stage.address, said="vsr_nonsense\n", code=2)
    stage.run("vshare", "login", stage.address, said=f"{made['token']}\n")
    share = stage.share("--name", "bobs-own")  # the relay has seen what was made meanwhile

    assert "1 share at once" in stage.refused()
    other = stage.operator("token", "create", "--user", "bob")
    file = tmp_path / "token"
    file.write_text(other["token"])
    stays = stage.share("--token-file", str(file))

    stage.operator("token", "revoke", made["id"])
    assert share.wait_for("ended")["reason"] == "token"
    assert share.process.wait(WAIT) == 1
    assert "revoked" in share.wait_for("error")["text"]
    assert stays.process.poll() is None
    assert "wants a token" in stage.refused("--name", "bobs-own")

    stage.run("vshare", "logout", stage.address)
    assert stays.interrupt() == 0
    assert stage.relay.interrupt() == 0
    said = "".join(path.read_text() for path in tmp_path.glob("*.err"))
    assert "registered, token" in said
    assert made["token"] not in said
    assert other["token"] not in said


def test_a_token_is_typed_unseen_and_a_service_asks_for_it(stage: Stage, tmp_path: Path) -> None:
    stage.start_relay("--accounts")
    stage.operator("user", "create", "bob")
    made = stage.operator("token", "create", "--user", "bob")
    folder, config = tmp_path / "project", tmp_path / "config"
    folder.mkdir()
    (folder / "vshare.toml").write_text(f'[up]\nname = "bobs"\nrelay = "{stage.address}"\n')
    # no systemd is to hear of it
    stage.desk.environment |= {"PATH": str(folder), "XDG_CONFIG_HOME": str(config)}
    install = ("vshare", "service", "install")
    said = stage.run(*install, folder=folder).stderr
    assert "asks for a token, and none is stored" in said
    assert f"vshare login {stage.address}" in said

    command = [str(BIN / "vshare"), "login", stage.address]
    screen = Terminal(command, stage.desk.environment)
    screen.wait_for("Token for", WAIT)
    assert not screen.echoes()
    screen.type(made["token"] + "\n")
    assert screen.end() == 0
    assert made["token"] not in screen.seen
    assert screen.echoed_at_the_end

    assert "asks for a token" not in stage.run(*install, folder=folder).stderr
    assert stage.share().interrupt() == 0
    unit = next((config / "systemd").rglob("*.service")).read_text()
    assert made["token"] not in unit


def test_a_relay_for_the_world_is_not_open_unless_it_is_said(stage: Stage) -> None:
    """127.1 stands for the world: another way of writing 127.0.0.1, which nobody knows as such."""
    for options, wants in (((), True), (("--open",), False)):
        stage.start_relay("--listen", "127.1:0", *options)
        assert stage.relay.wait_for("serving")["accounts"] is wants
        if wants:
            assert "wants a token" in stage.refused()
        else:
            assert stage.share().interrupt() == 0
        assert stage.relay.interrupt() == 0
