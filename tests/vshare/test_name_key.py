from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import keyring.core
import pytest
from keyring.backend import KeyringBackend
from keyring.backends import null

from tunnel.errors import VshareError
from tunnel.names import ShareName
from vshare.name_key import OtherKeyError, name_key

NAME = ShareName("my-share")


@pytest.fixture(autouse=True)
def _no_keyring(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those who run the tests may have one; tests/vshare/test_keystore.py has its own."""
    make: Callable[[], KeyringBackend] = null.Keyring  # it has no types
    monkeypatch.setattr(keyring.core, "_keyring_backend", make())


def raw(name: ShareName | None, directory: Path) -> bytes:
    with name_key(name, directory) as key:
        return key.private_bytes_raw()


def test_a_chosen_name_keeps_its_key(tmp_path: Path) -> None:
    first = raw(NAME, tmp_path / "names")
    assert raw(NAME, tmp_path / "names") == first
    assert raw(ShareName("other-share"), tmp_path / "names") != first
    (kept,) = (tmp_path / "names").glob("my-share.key")
    assert kept.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "names").stat().st_mode & 0o777 == 0o700


def test_a_drawn_name_leaves_nothing(tmp_path: Path) -> None:
    assert raw(None, tmp_path) != raw(None, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_name_is_used_once_at_a_time(tmp_path: Path) -> None:
    with name_key(NAME, tmp_path):
        with pytest.raises(VshareError, match="in use by another vshare"):
            raw(NAME, tmp_path)
        raw(ShareName("other-share"), tmp_path)
    raw(NAME, tmp_path)


def test_one_key_for_two_names(tmp_path: Path) -> None:
    other = ShareName("other-share")
    with name_key(NAME, tmp_path) as key, name_key(other, tmp_path, key=key) as same:
        assert same.private_bytes_raw() == key.private_bytes_raw()
    assert raw(other, tmp_path) == raw(NAME, tmp_path)
    other_key = pytest.raises(OtherKeyError, match="a key of its own")
    with name_key(None) as fresh, other_key, name_key(NAME, tmp_path, key=fresh):
        raise AssertionError
    assert raw(NAME, tmp_path) == raw(other, tmp_path)


@pytest.mark.parametrize("content", [b"", b"x" * 31, b"x" * 33])
def test_a_damaged_file_is_replaced(tmp_path: Path, content: bytes) -> None:
    (tmp_path / f"{NAME}.key").write_bytes(content)
    first = raw(NAME, tmp_path)
    assert raw(NAME, tmp_path) == first


def test_nowhere_to_keep_it(tmp_path: Path) -> None:
    (tmp_path / "names").write_text("a file")
    with pytest.raises(VshareError, match="cannot keep the key"):
        raw(NAME, tmp_path / "names")
