"""The bytes of a big download: always the same, and no two chunks alike."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator

CHUNK = 256 << 10  # bytes; big enough that few system calls are made
_DIGEST = 32


def chunks(count: int) -> Iterator[memoryview]:
    """`count` bytes in chunks. Each is valid until the next is asked for.

    A chunk is SHA-256 of 0, 1, 2…, and its first 8 bytes are its number: chunks that arrive in
    the wrong order or twice change the whole.
    """
    blocks = (hashlib.sha256(struct.pack(">I", n)).digest() for n in range(CHUNK // _DIGEST))
    chunk = bytearray(b"".join(blocks))
    for number in range(-(-count // CHUNK)):
        struct.pack_into(">Q", chunk, 0, number)
        yield memoryview(chunk)[: min(CHUNK, count - number * CHUNK)]
