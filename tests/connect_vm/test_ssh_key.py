from __future__ import annotations

import base64
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connect_vm.ssh_key import MAX_KDF_ROUNDS, _decrypt, kdf_rounds
from tests.connect_vm.ssh_harness import PASSWORD
from tunnel.errors import VshareError
from tunnel.key_handover import KeyPackage
from vshare.ssh_key import KDF_ROUNDS, make_key

HEAD, TAIL = b"-----BEGIN OPENSSH PRIVATE KEY-----\n", b"\n-----END OPENSSH PRIVATE KEY-----\n"


def package(private: bytes, *, encrypted: bool = True) -> KeyPackage:
    return KeyPackage("vagrant", 22, ["ssh-ed25519 AAAA"], private, encrypted, False)


def wrapped(data: bytes) -> bytes:
    return HEAD + base64.b64encode(data) + TAIL


def with_rounds(rounds: int) -> bytes:
    options = struct.pack(">I", 16) + bytes(16) + struct.pack(">I", rounds)
    parts = (b"aes256-ctr", b"bcrypt", options)
    data = b"".join(struct.pack(">I", len(part)) + part for part in parts)
    return wrapped(b"openssh-key-v1\0" + data)


def test_a_key_of_the_shares() -> None:
    key = make_key("test", PASSWORD)
    assert kdf_rounds(key.private) == KDF_ROUNDS
    opened = _decrypt(package(key.private), PASSWORD)
    assert opened.export_public_key().split()[1] == key.blob.encode()
    with pytest.raises(VshareError, match="cannot be used"):
        _decrypt(package(key.private), "another")


def test_a_key_without_a_password() -> None:
    key = make_key("test", None)
    assert kdf_rounds(key.private) == 0
    opened = _decrypt(package(key.private, encrypted=False), None)
    assert opened.export_public_key().split()[1] == key.blob.encode()


def test_a_key_of_ssh_keygens(tmp_path: Path) -> None:
    path = tmp_path / "key"
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-a", "3", "-N", "secret", "-f", str(path)]
    subprocess.run(command, check=True)
    assert kdf_rounds(path.read_bytes()) == 3


def test_work_without_end_is_refused() -> None:
    with pytest.raises(VshareError, match="at most 512"):
        _decrypt(package(with_rounds(MAX_KDF_ROUNDS + 1)), PASSWORD)


@pytest.mark.parametrize(
    "private",
    [
        b"",
        HEAD + TAIL,
        b"-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----\n",
        wrapped(b"openssh-key-v2\0"),
        wrapped(b"openssh-key-v1\0\xff\xff\xff\xff"),
        wrapped(b"openssh-key-v1\0"),
        HEAD + b"!!!" + TAIL,
        with_rounds(16),
    ],
)
def test_what_is_no_key(private: bytes) -> None:
    with pytest.raises(VshareError, match="cannot be used"):
        _decrypt(package(private), PASSWORD)


@given(st.binary(max_size=200))
def test_garbage_raises_value_error_alone(data: bytes) -> None:
    for pem in (data, wrapped(data), wrapped(b"openssh-key-v1\0" + data)):
        try:
            kdf_rounds(pem)
        except ValueError:
            pass
