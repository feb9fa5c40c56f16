"""An SSH agent for one key, inside this process: the counterpart is the system's `ssh`.

The protocol is draft-ietf-sshm-ssh-agent. OpenSSH's own agent would be another process, which
has the key after this one was killed; here it is gone with us, and was never on a disk. It knows
the key that it was made with, lists it and signs with it, and refuses everything else.
"""

from __future__ import annotations

import asyncio
import struct
from pathlib import Path
from types import TracebackType
from typing import cast

import asyncssh

MAX_REQUEST = 64 * 1024  # bytes; what is signed in a login has some hundred
_FAILURE, _REQUEST_IDENTITIES, _IDENTITIES, _SIGN_REQUEST, _SIGNATURE = b"\x05", 11, 12, 13, 14
_RSA_HASHES = ((4, b"rsa-sha2-512"), (2, b"rsa-sha2-256"))  # flags of a sign request


def answer(key: asyncssh.SSHKey, request: bytes) -> bytes:
    """The answer to a request, both without their lengths; FAILURE for all that is not known."""
    kind, body = request[:1], request[1:]
    blob = key.public_data
    if kind == bytes([_REQUEST_IDENTITIES]):
        return bytes([_IDENTITIES]) + struct.pack(">I", 1) + _string(blob) + _string(b"vshare")
    if kind == bytes([_SIGN_REQUEST]):
        try:
            wanted, body = _take_string(body)
            data, body = _take_string(body)
            (flags,) = struct.unpack(">I", body)
        except (struct.error, ValueError):
            return _FAILURE
        algorithm = _algorithm(key, flags)
        if wanted == blob and algorithm:
            return bytes([_SIGNATURE]) + _string(key.sign(data, algorithm))
    return _FAILURE


def _algorithm(key: asyncssh.SSHKey, flags: int) -> bytes:
    if key.algorithm != b"ssh-rsa":
        return key.algorithm
    return next((name for flag, name in _RSA_HASHES if flags & flag), b"")  # not SHA-1


def _string(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def _take_string(data: bytes) -> tuple[bytes, bytes]:
    (size,) = struct.unpack_from(">I", data)
    if len(data) < 4 + size:
        raise ValueError("cut short")
    return data[4 : 4 + size], data[4 + size :]


class _Session(asyncio.Protocol):
    """One program that talks to the agent."""

    def __init__(self, agent: KeyAgent) -> None:
        self._agent = agent
        self._buffer = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._agent.sessions.add(self)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while len(self._buffer) >= 4:
            (size,) = struct.unpack_from(">I", self._buffer)
            if size > MAX_REQUEST:
                self.transport.abort()
                return
            if len(self._buffer) < 4 + size:
                return
            request = bytes(self._buffer[4 : 4 + size])
            del self._buffer[: 4 + size]
            self.transport.write(_string(answer(self._agent.key, request)))

    def connection_lost(self, error: Exception | None) -> None:
        self._agent.sessions.discard(self)


class KeyAgent:
    """Async context manager: listens at `path`, which is to be in a directory of this user's
    alone. Leaving it ends every session and removes the socket."""

    def __init__(self, key: asyncssh.SSHKey, path: Path) -> None:
        self.key = key
        self.path = path
        self.sessions: set[_Session] = set()

    async def __aenter__(self) -> KeyAgent:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(lambda: _Session(self), str(self.path))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.close()
        for session in list(self.sessions):
            session.transport.abort()
        await self._server.wait_closed()
        self.path.unlink(missing_ok=True)
