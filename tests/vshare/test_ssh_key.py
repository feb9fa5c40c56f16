from __future__ import annotations

import subprocess
from pathlib import Path

import asyncssh
import pytest

from tunnel.errors import UsageError
from vshare.ssh_key import MAX_PASSWORD, MIN_PASSWORD, check_password, make_key

PASSWORD = "correct-horse"


@pytest.fixture(autouse=True)
def _little_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vshare.ssh_key.KDF_ROUNDS", 1)


def ssh_keygen(path: Path, *args: str) -> subprocess.CompletedProcess[str]:
    command = ["ssh-keygen", "-f", str(path), *args]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_ssh_keygen_reads_the_key_with_its_password_alone(tmp_path: Path) -> None:
    key = make_key("vshare-frosty-weasel-0857", PASSWORD)
    path = tmp_path / "key"
    path.write_bytes(key.private)
    path.chmod(0o600)
    assert ssh_keygen(path, "-y", "-P", PASSWORD).stdout.split() == key.public.split()[:2]
    assert ssh_keygen(path, "-y", "-P", "wrong-password").returncode != 0
    assert ssh_keygen(path, "-y", "-P", "").returncode != 0


def test_the_fingerprint_is_the_one_that_ssh_keygen_says(tmp_path: Path) -> None:
    key = make_key("vshare", None)
    path = tmp_path / "key.pub"
    path.write_text(key.public + "\n")
    assert ssh_keygen(path, "-l").stdout.split()[:3] == ["256", key.fingerprint, "vshare"]


def test_without_a_password_the_key_is_plain() -> None:
    key = make_key("vshare", None)
    public = asyncssh.import_private_key(key.private).export_public_key().decode()
    assert public.split() == key.public.split()[:2]
    assert make_key("vshare", None).public != key.public


def test_what_is_secret_is_not_shown() -> None:
    key = make_key("vshare", PASSWORD)
    assert "PRIVATE" not in repr(key)
    assert key.blob in repr(key)


@pytest.mark.parametrize("password", ["", "a" * (MIN_PASSWORD - 1), "a" * (MAX_PASSWORD + 1)])
def test_passwords_that_are_refused(password: str) -> None:
    with pytest.raises(UsageError) as refused:
        check_password(password)
    assert "aaa" not in refused.value.text + refused.value.hint
    with pytest.raises(UsageError):
        make_key("vshare", password)


@pytest.mark.parametrize("password", ["a" * MIN_PASSWORD, "ü" * MAX_PASSWORD])
def test_passwords_that_will_do(password: str) -> None:
    check_password(password)


@pytest.mark.parametrize("comment", ["", "two words", "line\nbreak", "it's", "a" * 101])
def test_a_comment_cannot_break_out_of_its_line(comment: str) -> None:
    with pytest.raises(ValueError, match="not a comment"):
        make_key(comment, None)
