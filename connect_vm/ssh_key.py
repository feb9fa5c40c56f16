"""The guest's side of `--ssh`'s key: asked for with its password, kept in memory alone.

docs/protocol.md 8.6. The counterpart is the share's `ssh-key` service.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import asyncssh

from tunnel.client import Client
from tunnel.codes import Code
from tunnel.console import Console
from tunnel.errors import LostError, RefusedError, VshareError
from tunnel.identity import Identity
from tunnel.key_handover import (
    HANDOVER_TIMEOUT,
    PROTOCOL,
    TRIES,
    GuestHandover,
    KeyPackage,
)
from tunnel.stream_messages import StreamMessages

MAX_KDF_ROUNDS = 512  # of bcrypt: 6 s of CPU; ssh-keygen takes 16 to 24, vshare 32
_MAGIC = b"openssh-key-v1\0"


@dataclass(frozen=True, slots=True)
class Login:
    """What it takes to log in."""

    user: str
    port: int  # of the shared machine's SSH server, as the share knows it
    host_keys: tuple[str, ...]  # `type base64`
    key: asyncssh.SSHKey = field(repr=False)


@dataclass(frozen=True, slots=True)
class Asking:
    """How to come by the password, and how often that makes sense."""

    ask: Callable[[], Awaitable[str]]
    tries: int = TRIES


async def fetch_key(
    client: Client, identity: Identity, asking: Asking | None, console: Console
) -> Login:
    """Get the key from the share; `asking` None: it has no password.

    After a wrong one it is asked for again, while the share allows it. Raises VshareError:
    refused, lost, or a key that cannot be used.
    """
    attempt = 0
    while True:
        attempt += 1
        password = None if asking is None else await asking.ask()
        try:
            package = await _hand_over(client, identity, password)
        except RefusedError as error:
            if error.code is not Code.WRONG_CODE or asking is None or attempt >= asking.tries:
                raise _in_words(error) from error
            console.warn(error.text)
            continue
        key = await asyncio.to_thread(_decrypt, package, password)
        return Login(package.user, package.port, tuple(package.host_keys), key)


async def _hand_over(client: Client, identity: Identity, password: str | None) -> KeyPackage:
    try:
        async with asyncio.timeout(HANDOVER_TIMEOUT):
            end = await client.open_special(PROTOCOL)
            messages = StreamMessages(end)
            try:
                ours = hashlib.sha256(identity.certificate).digest()
                theirs = hashlib.sha256(end.connection.peer_certificate).digest()
                handover = GuestHandover(password, ours, theirs, os.urandom)
                messages.send(await asyncio.to_thread(handover.first))
                answer = await messages.receive()
                if password is None:
                    return handover.open(answer)
                messages.send(await asyncio.to_thread(handover.second, answer))
                return handover.finish(await messages.receive())
            finally:
                messages.close()
    except TimeoutError:
        raise LostError("the share did not hand out the SSH key in time", "try again") from None


def _in_words(error: RefusedError) -> RefusedError:
    hints = {
        Code.WRONG_CODE: "ask the sharer for the password of the SSH key; it is not the code",
        Code.NOT_ALLOWED: "ask the sharer; a key that is handed out once may be used up",
        Code.UNSUPPORTED: "the sharer can share SSH with `vshare up --ssh`",
    }
    return RefusedError(error.code, error.text, error.hint or hints.get(error.code, "try again"))


def _decrypt(package: KeyPackage, password: str | None) -> asyncssh.SSHKey:
    passphrase = password if package.encrypted else None
    try:
        rounds = kdf_rounds(package.private_key)
        if rounds > MAX_KDF_ROUNDS:
            raise VshareError(f"the SSH key asks for {rounds} rounds, at most {MAX_KDF_ROUNDS}")
        return asyncssh.import_private_key(package.private_key, passphrase)
    except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError, ValueError) as error:
        raise VshareError(
            f"the SSH key that the share sent cannot be used: {error}",
            "install the same version of vshare on both sides",
        ) from error


def kdf_rounds(pem: bytes) -> int:
    """How much work an OpenSSH key's password costs (PROTOCOL.key); 0 without one.

    Raises ValueError for what is not such a key: nothing else is to be tried with a password.
    """
    lines = pem.strip().splitlines()
    if len(lines) < 3 or lines[0].strip() != b"-----BEGIN OPENSSH PRIVATE KEY-----":
        raise ValueError("not in OpenSSH's format")
    data = base64.b64decode(b"".join(lines[1:-1]), validate=True)
    if not data.startswith(_MAGIC):
        raise ValueError("not in OpenSSH's format")
    at = len(_MAGIC)
    fields: list[bytes] = []  # the cipher, the KDF, its options: salt and rounds
    for _ in range(3):
        if len(data) < at + 4:
            raise ValueError("cut short")
        (size,) = struct.unpack_from(">I", data, at)
        fields.append(data[at + 4 : at + 4 + size])
        at += 4 + size
    return int.from_bytes(fields[2][-4:], "big") if fields[1] != b"none" else 0
