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
    gone = operator.ask("token", "list")
    assert gone["tokens"] == []
    assert [each["id"] for each in gone["revoked_elsewhere"]] == [token.id]
    assert operator.ask("user", "list") == {"users": []}
    modes = {stat.S_IMODE(path.stat().st_mode) for path in operator.folder.iterdir()}
    assert modes == {0o600}


def test_people_are_told_what_is_next(operator: Operator) -> None:
    assert operator.say("user", "list") == ""
    assert operator.say("token", "list") == ""
    operator.say("user", "create", "bob")
    out = operator.say("token", "create", "--user", "bob")
    assert parse_token(out.partition("Token: ")[2].strip())


def test_limits_are_set_shown_and_taken_away(operator: Operator) -> None:
    operator.ask("user", "create", "bob", "--bytes-per-day", "100G")
    options = ("--streams", "5", "--bandwidth", "1.5M", "--scope", "share", "--scope", "pages")
    made = operator.ask("token", "create", "--user", "bob", *options)
    (listed,) = operator.ask("token", "list")["tokens"]
    assert (listed["streams"], listed["bandwidth"], listed["guests"]) == (5, 1_500_000, None)
    assert (listed["scopes"], listed["bytes_today"]) == ("share pages", 0)
    changes = ("--streams", "none", "--bandwidth", "default", "--guests", "3")
    changed = operator.ask(
        "token", "set", made["id"], *changes, "--scope", "share", "--scope", "names:acme-"
    )
    assert changed["limits"] == {
        "shares": None, "guests": 3, "streams": 0, "bytes_per_day": None, "bandwidth": None,
    }  # fmt: skip
    assert changed["scopes"] == "share names:acme-"
    shown = operator.say("token", "list")
    assert "3 guests, any streams" in shown
    assert "0 B today" in shown
    assert "100 GB a day" in operator.say("user", "list")
    limits = operator.ask("user", "set", "bob", "--shares", "1")["limits"]
    assert (limits["shares"], limits["bytes_per_day"]) == (1, 10**11)
    assert "1 share, 100 GB a day" in operator.say("user", "list")


def test_names_and_bans_are_listed(operator: Operator) -> None:
    operator.ask("user", "create", "bob")
    assert operator.ask("name", "reserve", "acme-*", "--user", "bob")["name"] == "acme-*"
    assert operator.ask("name", "list")["names"][0]["user"] == "bob"
    assert "acme-*" in operator.say("name", "list")
    operator.say("name", "free", "acme-*")
    assert operator.ask("name", "list") == {"names": []}
    token = operator.ask("token", "create", "--user", "bob")
    banned = operator.ask("ban", token["id"], "--for", "1d", "--reason", "a leak")
    assert (banned["kind"], banned["what"], banned["reason"]) == ("token", token["id"], "a leak")
    assert banned["until"] is not None
    assert operator.ask("ban", token["token"])["what"] == token["id"]  # as found somewhere
    assert operator.ask("ban", "2001:db8::1")["what"] == "2001:db8::/64"
    shown = operator.say("ban", "list")
    assert token["id"] in shown
    assert token["token"] not in shown
    assert len(operator.ask("ban", "list")["bans"]) == 2
    operator.say("unban", token["id"])
    operator.say("unban", "2001:db8::1")
    assert operator.say("ban", "list") == ""


def test_what_is_wrong_is_said(operator: Operator, vrelay: Command) -> None:
    where = ("--state-dir", str(operator.folder))
    vrelay("user", "create", "a b", *where).check_error(2, "not a user's name")
    vrelay("token", "create", "--user", "eve", *where).check_error(1, "no user 'eve'")
    vrelay("token", "revoke", "nothing", *where).check_error(1, "no token 'nothing'")
    vrelay("token", "revoke", "vsr_" + "a" * 60, *where).check_error(1, "token 'vsr_aaaaaaaa'")
    vrelay("token", "create", *where).check_error(2, "missing option '--user'")
    operator.say("user", "create", "bob")
    create = ("token", "create", "--user", "bob")
    for option, value in (("--streams", "0"), ("--bandwidth", "fast"), ("--shares", "x")):
        vrelay(*create, option, value, *where).check_error(2, "not a number")
    for scope in ("root", "names:", "names:A", "names:a", ""):
        vrelay(*create, "--scope", scope, *where).check_error(2, "scope")
    vrelay("token", "set", "nothing", *where).check_error(1, "no token 'nothing'")
    vrelay("user", "set", "eve", *where).check_error(1, "no user 'eve'")
    vrelay("ban", "127.0.0.1", *where).check_error(2, "this host itself")
    vrelay("ban", "the-name", "--for", "soon", *where).check_error(2, "not a span")
    vrelay("unban", "the-name", *where).check_error(1, "is not banned")


def test_a_token_of_another_relay_is_revoked_if_that_is_said(operator: Operator) -> None:
    words = ("token", "revoke", "abcdefgh", "--state-dir", str(operator.folder))
    outcome = operator.vrelay(*words)
    assert outcome.code == 1
    assert "no token 'abcdefgh' at this relay" in outcome.err
    assert "--everywhere" in outcome.err
    assert operator.ask("token", "revoke", "abcdefgh", "--everywhere") == {
        "id": "abcdefgh",
        "revoked": True,
    }
    assert operator.ask("token", "revoke", "abcdefgh", "--everywhere")["revoked"] is False
    assert "abcdefgh" in operator.say("token", "list")
    outcome = operator.vrelay("token", "revoke", "no-token", "--everywhere", *words[3:])
    assert outcome.code == 2
