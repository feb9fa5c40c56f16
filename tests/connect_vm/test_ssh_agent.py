from __future__ import annotations

import asyncio
import struct
from pathlib import Path

import asyncssh
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connect_vm.ssh_agent import MAX_REQUEST, KeyAgent, answer
from tests.loops import Factory as LoopFactory
from tests.loops import both_loops, run

KEY = asyncssh.generate_private_key("ssh-ed25519")
OTHER = asyncssh.generate_private_key("ssh-ed25519")
FAILURE = b"\x05"


def string(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def sign_request(blob: bytes, flags: int = 0) -> bytes:
    return b"\x0d" + string(blob) + string(b"data") + struct.pack(">I", flags)


@both_loops
def test_a_real_client(factory: LoopFactory, tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "agent"
        async with KeyAgent(KEY, path), asyncssh.connect_agent(str(path)) as client:
            (pair,) = await client.get_keys()
            assert pair.public_data == KEY.public_data
            signature = await pair.sign_async(b"data")  # type: ignore[attr-defined]
            assert KEY.convert_to_public().verify(b"data", signature)
            assert not KEY.convert_to_public().verify(b"date", signature)
            with pytest.raises(ValueError, match="Unable to add key"):
                await client.add_keys([OTHER])
        assert not path.exists()

    run(main, factory)


@pytest.mark.parametrize(
    ("kind", "flags", "algorithm"),
    [
        ("ssh-ed25519", 0, b"ssh-ed25519"),
        ("ecdsa-sha2-nistp256", 0, b"ecdsa-sha2-nistp256"),
        ("ssh-rsa", 2, b"rsa-sha2-256"),
        ("ssh-rsa", 4, b"rsa-sha2-512"),
    ],
)
def test_each_kind_of_key(kind: str, flags: int, algorithm: bytes) -> None:
    key = asyncssh.generate_private_key(kind)
    said = answer(key, sign_request(key.public_data, flags))
    assert said[:1] == b"\x0e"
    signature = said[5:]
    assert signature.startswith(string(algorithm))
    assert key.convert_to_public().verify(b"data", signature)


@pytest.mark.parametrize(
    "request_",
    [
        b"",
        b"\x0d",
        b"\x13",  # remove all
        sign_request(OTHER.public_data),
        sign_request(KEY.public_data)[:-1],
        sign_request(KEY.public_data) + b"x",
        b"\x0d" + struct.pack(">I", 2**32 - 1) + KEY.public_data,
    ],
    ids=range(7),
)
def test_everything_else_fails(request_: bytes) -> None:
    assert answer(KEY, request_) == FAILURE


def test_sha_1_is_refused() -> None:
    key = asyncssh.generate_private_key("ssh-rsa")
    assert answer(key, sign_request(key.public_data)) == FAILURE


@given(st.sampled_from([b"\x0b", b"\x0d", b""]), st.binary(max_size=100))
def test_garbage_raises_nothing(kind: bytes, body: bytes) -> None:
    request = kind + body
    assert (answer(KEY, request) == FAILURE) is not request.startswith(b"\x0b")


def test_byte_by_byte_and_too_long(tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "agent"
        async with KeyAgent(KEY, path):
            reader, writer = await asyncio.open_unix_connection(str(path))
            for byte in string(b"\x0b") * 2:
                writer.write(bytes([byte]))
                await writer.drain()
            listed = string(b"\x0c" + struct.pack(">I", 1) + string(KEY.public_data))
            said = await reader.readexactly(2 * (len(listed) + 4 + len(b"vshare")))
            assert said.count(KEY.public_data) == 2
            writer.write(struct.pack(">I", MAX_REQUEST + 1))
            assert await reader.read() == b""
            writer.close()
            _, waiting = await asyncio.open_unix_connection(str(path))
        waiting.close()  # one that was open ends with the agent

    run(main)
