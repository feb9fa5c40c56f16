import os
import pty
import stat
import sys
import tomllib
from pathlib import Path

import pytest

from relay import settings_file
from relay.cli import main
from relay.settings_file import read_settings
from relay.settings_text import settings_text
from tests.commands import Command


@pytest.fixture
def vrelay(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    for variable in [name for name in os.environ if name.startswith("VRELAY_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setattr(settings_file, "PLACE", Path("/none/relay.toml"))
    return Command("vrelay", main, monkeypatch, capfd)


def test_init_writes_what_is_said_and_makes_a_token(
    vrelay: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("socket.has_dualstack_ipv6", lambda: False)
    file, state = tmp_path / "etc" / "relay.toml", tmp_path / "state"
    said = ["--file", str(file), "--state-dir", str(state), "--domain", "shares.example"]
    outcome = vrelay("init", "--yes", *said, "--pages-host", "pages.example", "--user", "ann")
    assert outcome.code == 0, outcome.err
    assert "Token of ann: vsr_" in outcome.out
    for text in ("*.shares.example.  A", "pages.example.  AAAA", "service install --config"):
        assert text in outcome.err
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    assert tomllib.loads(file.read_text()) == {
        "listen": ["0.0.0.0:443", "0.0.0.0:80"],
        "domain": "shares.example",
        "pages-host": "pages.example",
        "state-dir": str(state),
    }
    read_settings(file).check()
    before = file.read_bytes()
    vrelay("init", "--yes", *said).check_error(2, "is there already")
    assert file.read_bytes() == before
    again = vrelay("init", "--yes", "--overwrite", *said, "--open")
    assert again.code == 0, again.err
    assert "vsr_" not in again.out
    assert "open = true" in file.read_text()


def test_init_refuses_what_could_not_be_served(vrelay: Command, tmp_path: Path) -> None:
    file = tmp_path / "relay.toml"
    said = ["init", "--yes", "--file", str(file), "--domain", "a.b"]
    vrelay(*said, "--pages-host", "c.a.b").check_error(2, "is in the domain of the shares")
    vrelay("init", "--file", str(file)).check_error(2, "nobody is there to be asked")
    assert not file.exists()


def test_texts_in_the_file_are_what_they_were() -> None:
    values = {
        "domain": 'a"b\\c\n\u00e4\U0001f600',
        "open": False,
        "drain": 1.5,
        "listen": ("a", "b"),
    }
    assert tomllib.loads(settings_text(values)) == {**values, "listen": ["a", "b"]}


@pytest.mark.programs
def test_init_asks_five_questions(tmp_path: Path) -> None:
    file = tmp_path / "relay.toml"
    words = ["init", "--file", str(file), "--state-dir", str(tmp_path / "state")]
    child, terminal = pty.fork()
    if not child:
        os.execv(sys.executable, [sys.executable, "-m", "relay.cli", *words])
    shown = b""
    answers = [(b"1. ", b"shares.example\n"), (b"2. ", b"pages.example\n"), (b"3. ", b"own\n")]
    for question, answer in [*answers, (b"4. ", b"\n"), (b"5. ", b"7\n")]:
        while question not in shown:
            shown += os.read(terminal, 4096)
        os.write(terminal, answer)
    while b"vshare up --relay" not in shown:
        shown += os.read(terminal, 4096)
    assert os.waitpid(child, 0) == (child, 0)
    os.close(terminal)
    assert b"Token of admin" in shown
    values = tomllib.loads(file.read_text())
    assert (values["domain"], values["history-days"]) == ("shares.example", 7)
    assert (values["pages-host"], values["open"]) == ("pages.example", False)
    assert "acme" not in values
