from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path

import keyring.core
import pytest
from keyring.backend import KeyringBackend
from keyring.backends import null

from tests.commands import Command
from tunnel.address import parse_relay
from tunnel.relay_token import ID_SIZE, SECRET_SIZE, make_token
from vshare.cli import main
from vshare.relay_tokens import stored_token

RELAY = "relay.example.org:443"
TOKEN = make_token(bytes(ID_SIZE), bytes(SECRET_SIZE))


@pytest.fixture
def vshare(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> Command:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    make: Callable[[], KeyringBackend] = null.Keyring  # it has no types
    monkeypatch.setattr(keyring.core, "_keyring_backend", make())
    return Command("vshare", main, monkeypatch, capfd)


def pipe(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))


def test_in_and_out(vshare: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pipe(monkeypatch, f"{TOKEN.text}\n".encode())
    outcome = vshare("login", RELAY)
    assert outcome.code == 0
    assert TOKEN.text not in outcome.out + outcome.err
    assert stored_token(parse_relay(RELAY)) == TOKEN
    assert "is forgotten" in vshare("logout", RELAY).err
    assert stored_token(parse_relay(RELAY)) is None
    assert "nothing is stored" in vshare("logout", RELAY).err

    file = tmp_path / "token"
    file.write_text(TOKEN.text)
    monkeypatch.setenv("VSHARE_RELAY", RELAY)
    assert vshare("login", "--token-file", str(file)).code == 0
    assert stored_token(parse_relay(RELAY)) == TOKEN


def test_what_is_wrong_is_said(
    vshare: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    vshare("login").check_error(2, "no relay is named")
    vshare("logout", "a:b:c").check_error(2, "not an address")
    pipe(monkeypatch, b"")
    vshare("login", RELAY).check_error(2, "that is no relay token")
    vshare("login", RELAY, "--token-file", str(tmp_path)).check_error(2, "cannot read")
    vshare("up", "--lan", "--token-file", "x").check_error(2, "contradict each other")
