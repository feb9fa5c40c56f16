"""What a password-authenticated key exchange is made of here, whatever it is for. Pure.

SPAKE2 (RFC 9382, as the package `spake2` does it), keys out of its key by HKDF (RFC 5869), a
transcript that the confirmations cover, and messages that may be a refusal instead.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TypeVar

import msgspec
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from spake2 import SPAKE2_A, SPAKE2_B

from tunnel.codes import Code
from tunnel.errors import RefusedError, RemoteProtocolError
from tunnel.frames import MAX_TEXT

KEY = 32  # bytes of a derived key, and of SHA-256

# entropy(n) returns n random bytes: os.urandom outside tests.
Entropy = Callable[[int], bytes]
T = TypeVar("T", bound=msgspec.Struct)


class Refused(msgspec.Struct, array_like=True, frozen=True):
    """In place of any message of the share's."""

    code: int
    text: str


def parse_or_raise(kind: type[T], message: bytes) -> T:
    """`message` as `kind`. Raises RefusedError when it says no, RemoteProtocolError if neither."""
    try:
        return msgspec.msgpack.decode(message, type=kind)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        try:
            refused = msgspec.msgpack.decode(message, type=Refused)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            raise RemoteProtocolError(f"bad {kind.__name__}: {error}") from error
    raise RefusedError(Code.from_wire(refused.code), refused.text[:MAX_TEXT])


def refuse(code: Code, text: str) -> bytes:
    """The message that ends an exchange with a no."""
    return msgspec.msgpack.encode(Refused(int(code), text[:MAX_TEXT]))


def expand(key: bytes, info: bytes) -> bytes:
    """A key of its own for each use, `info`."""
    return HKDF(algorithm=hashes.SHA256(), length=KEY, salt=None, info=info).derive(key)


def transcript(*messages: bytes) -> bytes:
    """SHA-256 over messages as sent, each with its length (u16)."""
    digest = hashlib.sha256()
    for message in messages:
        digest.update(len(message).to_bytes(2, "big") + message)
    return digest.digest()


def finish(spake: SPAKE2_A | SPAKE2_B, message: bytes) -> bytes:
    """The key. On hostile input spake2 raises whatever its arithmetic runs into."""
    try:
        return bytes(spake.finish(message))
    except Exception as error:
        raise RemoteProtocolError(f"bad SPAKE2 message: {type(error).__name__}") from error
