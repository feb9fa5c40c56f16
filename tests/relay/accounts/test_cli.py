import json
import stat
from pathlib import Path
from typing import Any

import pytest

from relay.cli import main
from tests.commands import Command
from tunnel.relay_token import parse_token


@pytest.fixture
def vrelay(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    return Command("vrelay", main, monkeypatch, capfd)


class Operator:
    """`vrelay` with a state directory of its own."""

    def __init__(self, vrelay: Command, folder: Path) -> None:
        self.vrelay, self.folder = vrelay, folder

    def say(self, *words: str) -> str:
        outcome = self.vrelay(*words, "--state-dir", str(self.folder))
        assert outcome.code == 0, outcome.err
        return outcome.out

    def ask(self, *words: str) -> dict[str, Any]:
        answer = json.loads(self.say(*words, "--json"))
        assert isinstance(answer, dict)
        return answer


@pytest.fixture
def operator(vrelay: Command, tmp_path: Path) -> Operator:
    return Operator(vrelay, tmp_path / "state")


def test_a_user_gets_a_token_which_is_shown_once(operator: Operator) -> None:
    assert operator.ask("user", "create", "bob") == {"user": "bob"}
    options = ("--expires", "30", "--shares", "1", "--note", "at home")
    made = operator.ask("token", "create", "--user", "bob", *options)
    token = parse_token(made["token"])
    assert made["id"] == token.id
    (listed,) = operator.ask("token", "list")["tokens"]
    assert (listed["user"], listed["shares"], listed["note"]) == ("bob", 1, "at home")
    assert listed["state"] == "good"
    assert listed["expires_at"] == pytest.approx(listed["created_at"] + 30 * 86_400)
    shown = operator.say("token", "list") + operator.say("user", "list")
    assert "1 share " in shown
    assert "1 token" in shown
    assert token.text not in shown
    assert operator.ask("token", "revoke", token.id) == {"id": token.id, "revoked": True}
    found = operator.ask("token", "revoke", token.text)  # somewhere where it should not be
    assert found == {"id": token.id, "revoked": False}
    assert "revoked" in operator.say("token", "list")
    assert operator.ask("user", "remove", "bob") == {"user": "bob", "tokens": 0}
    assert operator.ask("token", "list") == {"tokens": []}
    assert operator.ask("user", "list") == {"users": []}
    modes = {stat.S_IMODE(path.stat().st_mode) for path in operator.folder.iterdir()}
    assert modes == {0o600}


def test_people_are_told_what_is_next(operator: Operator) -> None:
    assert operator.say("user", "list") == ""
    assert operator.say("token", "list") == ""
    operator.say("user", "create", "bob")
    out = operator.say("token", "create", "--user", "bob")
    assert parse_token(out.partition("Token: ")[2].strip())


def test_what_is_wrong_is_said(operator: Operator, vrelay: Command) -> None:
    where = ("--state-dir", str(operator.folder))
    vrelay("user", "create", "a b", *where).check_error(2, "not a user's name")
    vrelay("token", "create", "--user", "eve", *where).check_error(1, "no user 'eve'")
    vrelay("token", "revoke", "nothing", *where).check_error(1, "no token 'nothing'")
    vrelay("token", "revoke", "vsr_" + "a" * 60, *where).check_error(1, "token 'vsr_aaaaaaaa'")
    vrelay("token", "create", *where).check_error(2, "missing option '--user'")
