from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path

import keyring.core
import pytest
from keyring.backend import KeyringBackend
from keyring.backends import null

from tests.vshare.test_keystore import FIT, LockedKeyring, MemoryKeyring
from tunnel.address import parse_relay
from tunnel.errors import UsageError, VshareError
from tunnel.relay_token import ID_SIZE, SECRET_SIZE, make_token
from vshare.relay_tokens import forget_token, read_token, store_token, stored_token, token_for

PIN = "0123456789abcdef" * 2
RELAY = parse_relay(f"relay.example.org:443#{PIN}")
TOKEN = make_token(bytes(ID_SIZE), b"\1" * SECRET_SIZE)
OTHER = make_token(bytes(ID_SIZE), b"\2" * SECRET_SIZE)


def use(monkeypatch: pytest.MonkeyPatch, backend: KeyringBackend) -> None:
    monkeypatch.setattr(keyring.core, "_keyring_backend", backend)


@pytest.fixture(autouse=True)
def _no_keyring(monkeypatch: pytest.MonkeyPatch) -> None:
    make: Callable[[], KeyringBackend] = null.Keyring  # it has no types
    use(monkeypatch, make())


def test_a_token_is_kept_for_its_user_alone(tmp_path: Path) -> None:
    folder = tmp_path / "tokens"
    assert stored_token(RELAY, folder) is None
    assert not folder.exists()
    for token in (TOKEN, OTHER):
        store_token(RELAY, token, folder)
        assert stored_token(RELAY, folder) == token
    (file,) = folder.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert forget_token(RELAY, folder)
    assert stored_token(RELAY, folder) is None
    assert not forget_token(RELAY, folder)
    assert not list(folder.iterdir())


def test_a_token_is_for_its_relay_alone(tmp_path: Path) -> None:
    store_token(RELAY, TOKEN, tmp_path)
    for other in (
        "relay.example.org:443",
        f"relay.example.org:443#{'f' * 32}",
        f"relay.example.org:444#{PIN}",
        f"relay.example.net:443#{PIN}",
    ):
        assert stored_token(parse_relay(other), tmp_path) is None
    assert stored_token(parse_relay(f"Relay.Example.ORG#{PIN}{PIN}"), tmp_path) == TOKEN


def test_a_keyring_has_it_where_there_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = MemoryKeyring(FIT)
    use(monkeypatch, backend)
    store_token(RELAY, TOKEN, tmp_path)
    (file,) = tmp_path.iterdir()
    assert TOKEN.text not in file.read_text()
    assert len(backend.kept) == 1
    assert stored_token(RELAY, tmp_path) == TOKEN
    use(monkeypatch, LockedKeyring(FIT))
    with pytest.raises(VshareError, match="is in your keyring, which cannot be used") as caught:
        stored_token(RELAY, tmp_path)
    assert "--token-file" in caught.value.hint
    with pytest.raises(VshareError, match="is in your keyring"):
        forget_token(RELAY, tmp_path)
    use(monkeypatch, backend)
    assert forget_token(RELAY, tmp_path)
    assert not backend.kept


def test_a_file_counts_before_what_is_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    store_token(RELAY, TOKEN)
    file = tmp_path / "token"
    file.write_text(f"{OTHER.text}\n")
    assert token_for(RELAY) == TOKEN
    assert token_for(RELAY, file) == OTHER
    assert token_for(parse_relay("127.0.0.1:1")) is None


def test_what_is_no_token_is_refused_and_not_shown(tmp_path: Path) -> None:
    file = tmp_path / "token"
    for content in (b"", TOKEN.text[:-1].encode(), b"\xff" * 1000, TOKEN.text.encode() * 2):
        file.write_bytes(content)
        with pytest.raises(UsageError, match="no relay token") as caught:
            read_token(file)
        assert "vsr_a" not in str(caught.value)
    with pytest.raises(UsageError, match="cannot read a relay token"):
        read_token(tmp_path / "nowhere")
