"""The key store with keyrings of the test's own, which is the package's documented way."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

import keyring
import pytest
from keyring.backend import KeyringBackend
from keyring.backends import fail, null
from keyring.errors import KeyringLocked

from tunnel.errors import VshareError
from tunnel.names import ShareName
from vshare import keystore
from vshare.keystore import KeyringError
from vshare.name_key import name_key

NAME = ShareName("my-share")
FIT = 5.0  # a backend's priority, as the desktops' have it


class MemoryKeyring(KeyringBackend):
    """Works. The package knows every subclass, and is not to choose these by itself."""

    priority: ClassVar[float] = -2

    def __init__(self, fitness: float = -2) -> None:
        self.__dict__["priority"] = fitness
        self.kept: dict[tuple[str, str], str] = {}

    def get_password(self, service: str, username: str) -> str | None:
        return self.kept.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.kept[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        del self.kept[service, username]


class ForgetfulKeyring(MemoryKeyring):
    """Takes everything and has nothing, as some containers' do."""

    def get_password(self, service: str, username: str) -> str | None:
        return None


class LockedKeyring(MemoryKeyring):
    """Its user declined to unlock it."""

    def get_password(self, service: str, username: str) -> str | None:
        raise KeyringLocked("dismissed")

    def set_password(self, service: str, username: str, password: str) -> None:
        raise KeyringLocked("dismissed")


class HangingKeyring(MemoryKeyring):
    """Waits for its user."""

    def __init__(self, fitness: float = -2) -> None:
        super().__init__(fitness)
        self.over = threading.Event()

    def get_password(self, service: str, username: str) -> str | None:
        self.over.wait(20)
        return None

    def set_password(self, service: str, username: str, password: str) -> None:
        self.over.wait(20)


@pytest.fixture(autouse=True)
def _keyring_is_put_back() -> Iterator[None]:
    before = keyring.get_keyring()
    yield
    keyring.set_keyring(before)


def no_keyring() -> KeyringBackend:
    make: Callable[[], KeyringBackend] = fail.Keyring  # it has no types
    return make()


def raw(directory: Path, name: ShareName = NAME) -> bytes:
    with name_key(name, directory) as key:
        return key.private_bytes_raw()


def content(directory: Path) -> bytes:
    return (directory / f"{NAME}.key").read_bytes()


def test_a_keyring_keeps_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    backend = MemoryKeyring(FIT)
    keyring.set_keyring(backend)
    first = raw(tmp_path)
    assert raw(tmp_path) == first
    assert list(backend.kept) == [("vshare", NAME)]
    assert first not in content(tmp_path)
    assert (tmp_path / f"{NAME}.key").stat().st_mode & 0o777 == 0o600
    assert raw(tmp_path, ShareName("other-share")) != first
    with name_key(NAME, tmp_path), pytest.raises(VshareError, match="in use by another vshare"):
        raw(tmp_path)
    assert caplog.text == ""


def test_a_file_moves_into_the_keyring(tmp_path: Path) -> None:
    keyring.set_keyring(no_keyring())
    first = raw(tmp_path)
    assert content(tmp_path) == first
    backend = MemoryKeyring(FIT)
    keyring.set_keyring(backend)
    assert raw(tmp_path) == first
    assert first not in content(tmp_path)
    assert raw(tmp_path) == first
    assert len(backend.kept) == 1


def test_the_directory_was_lost(tmp_path: Path) -> None:
    """Or the process was killed while it moved the key."""
    keyring.set_keyring(MemoryKeyring(FIT))
    first = raw(tmp_path)
    (tmp_path / f"{NAME}.key").unlink()
    assert raw(tmp_path) == first
    (tmp_path / f"{NAME}.key").write_bytes(b"")
    assert raw(tmp_path) == first


def test_what_is_in_the_keyring_is_no_key(tmp_path: Path) -> None:
    backend = MemoryKeyring(FIT)
    keyring.set_keyring(backend)
    first = raw(tmp_path)
    for damaged in ("", "no base64", "QUJD"):
        backend.kept["vshare", NAME] = damaged
        second = raw(tmp_path)
        assert second != first
        assert raw(tmp_path) == second


def weak_keyring() -> KeyringBackend:
    """Not recommended, such as one that keeps plain text."""
    return MemoryKeyring(0.5)


@pytest.mark.parametrize("make", [fail.Keyring, null.Keyring, weak_keyring])
def test_no_keyring_to_speak_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, make: Callable[[], KeyringBackend]
) -> None:
    keyring.set_keyring(make())
    first = raw(tmp_path)
    assert raw(tmp_path) == first
    assert content(tmp_path) == first
    assert caplog.text == ""


def test_a_keyring_that_fails(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    keyring.set_keyring(LockedKeyring(FIT))
    first = raw(tmp_path)
    assert raw(tmp_path) == first
    assert content(tmp_path) == first
    told = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(told) == 2  # once for each time
    assert "dismissed" in told[0].message


def test_a_keyring_that_forgets(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    keyring.set_keyring(ForgetfulKeyring(FIT))
    first = raw(tmp_path)
    assert content(tmp_path) == first
    assert "does not keep" in caplog.text


def test_a_keyring_that_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(keystore, "KEYRING_WITHIN", 0.05)
    backend = HangingKeyring(FIT)
    keyring.set_keyring(backend)
    try:
        first = raw(tmp_path)
        assert raw(tmp_path) == first
    finally:
        backend.over.set()
    assert content(tmp_path) == first
    assert "did not answer" in caplog.text


def test_a_key_in_a_keyring_that_is_locked_now(tmp_path: Path) -> None:
    """A fresh key would only be refused by the relay."""
    backend = MemoryKeyring(FIT)
    keyring.set_keyring(backend)
    first = raw(tmp_path)
    for closed in (LockedKeyring(FIT), no_keyring()):
        keyring.set_keyring(closed)
        with pytest.raises(KeyringError, match="is in your keyring, which cannot be used"):
            raw(tmp_path)
    keyring.set_keyring(backend)
    assert raw(tmp_path) == first


def test_it_is_not_imported_for_nothing(tmp_path: Path) -> None:
    """It takes 0.1 s, and a name that the relay draws needs none."""
    program = (
        "import sys; from pathlib import Path; from vshare.name_key import name_key\n"
        "with name_key(None, Path(sys.argv[1])): assert 'keyring' not in sys.modules"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run([sys.executable, "-c", program, tmp_path], check=True, env=environment)
