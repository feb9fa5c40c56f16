"""Bytes that both ends know without having told each other: a key stream, made from a number."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

PIECE = 64 * 1024  # bytes made at once
_ZEROS = bytes(PIECE)
_KEY_SIZE = 16  # AES-128


def chunks(seed: int, size: int) -> Iterator[bytes]:
    """`size` bytes in pieces of at most PIECE; no part of it comes twice."""
    key = hashlib.sha256(str(seed).encode()).digest()[:_KEY_SIZE]
    stream = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor()
    while size > 0:
        piece = stream.update(_ZEROS[: min(PIECE, size)])
        size -= len(piece)
        yield piece


def data(seed: int, size: int) -> bytes:
    """All of it at once."""
    return b"".join(chunks(seed, size))


def digest(seed: int, size: int) -> str:
    """SHA-256 of it, in hexadecimal."""
    total = hashlib.sha256()
    for piece in chunks(seed, size):
        total.update(piece)
    return total.hexdigest()
