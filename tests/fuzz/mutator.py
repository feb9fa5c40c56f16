"""Makes inputs out of inputs; all that it does follows from the given random.Random."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

MAX_STEPS = 6
REPEAT = 64
# Where length checks are wrong, if they are.
BOUNDS = (0, 1, 2, 3, 4, 7, 8, 15, 16, 17, 31, 32, 33, 62, 63, 64, 65, 127, 128, 129, 253, 254,
          255, 256, 257, 511, 512, 1023, 1024, 1025, 4095, 4096, 8191, 8192, 8193, 16383, 16384,
          16385, 32767, 32768, 65506, 65507, 65508, 65534, 65535, 65536, 262143, 262144, 262145,
          2**24 - 1, 2**31 - 1, 2**31, 2**32 - 1)  # fmt: skip


class Mutator:
    """`mutate(data, other)` gives a neighbour of `data`, at most `max_len` bytes long."""

    def __init__(self, chance: random.Random, words: Sequence[bytes], max_len: int) -> None:
        self._chance = chance
        self._words = words
        self._max_len = max_len
        self._other = b""
        self._steps: list[Callable[[bytearray], None]] = [
            self._flip, self._flip, self._set_byte, self._set_byte, self._insert, self._delete,
            self._truncate, self._set_length, self._set_length, self._splice, self._repeat,
            self._swap, self._digits,
        ]  # fmt: skip
        if words:
            self._steps += [self._insert_word, self._insert_word, self._put_word]

    def mutate(self, data: bytes, other: bytes) -> bytes:
        """One to MAX_STEPS changes; `other` is what is spliced in."""
        self._other = other
        changed = bytearray(data)
        for _ in range(1 + int(MAX_STEPS * self._chance.random() ** 2)):
            self._chance.choice(self._steps)(changed)
        return bytes(changed[: self._max_len])

    def _at(self, data: bytearray) -> int:
        return int(self._chance.random() * len(data))

    def _flip(self, data: bytearray) -> None:
        if data:
            data[self._at(data)] ^= 1 << int(self._chance.random() * 8)

    def _set_byte(self, data: bytearray) -> None:
        if data:
            common = self._chance.choice(b"\x00\x01\x7f\x80\xff \r\n\t-.:,;\"'/@#%[]{}09azAZ")
            data[self._at(data)] = (
                common if self._chance.random() < 0.5 else self._chance.randrange(256)
            )

    def _insert(self, data: bytearray) -> None:
        size = self._chance.choice((1, 1, 1, 2, 3, 8))
        at = self._chance.randrange(len(data) + 1)
        data[at:at] = self._chance.randbytes(size)

    def _delete(self, data: bytearray) -> None:
        at = self._chance.randrange(len(data) + 1)
        del data[at : at + self._chance.choice((1, 1, 2, 4, 16))]

    def _truncate(self, data: bytearray) -> None:
        if self._chance.random() < 0.3:
            del data[self._chance.randrange(len(data) + 1) :]

    def _set_length(self, data: bytearray) -> None:
        """A boundary value over one to four bytes, or what is there plus or minus one."""
        size = self._chance.choice((1, 2, 2, 3, 4))
        if len(data) < size:
            return
        at = self._chance.randrange(len(data) - size + 1)
        order = self._chance.choice(("big", "big", "little"))
        old = int.from_bytes(data[at : at + size], order)  # type: ignore[arg-type]  # a Literal
        step = self._chance.choice((-1, 1))
        new = old + step if self._chance.random() < 0.5 else self._chance.choice(BOUNDS)
        new %= 1 << (8 * size)
        data[at : at + size] = new.to_bytes(size, order)  # type: ignore[arg-type]  # a Literal

    def _splice(self, data: bytearray) -> None:
        other = self._other
        start = self._chance.randrange(len(other) + 1)
        end = self._chance.randrange(start, len(other) + 1)
        at = self._chance.randrange(len(data) + 1)
        keep = at if self._chance.random() < 0.5 else min(len(data), at + end - start)
        data[at:keep] = other[start:end]

    def _repeat(self, data: bytearray) -> None:
        start = self._chance.randrange(len(data) + 1)
        piece = data[start : start + self._chance.choice((1, 2, 4, 16, 64))]
        data[start:start] = piece * self._chance.choice((1, 2, 3, REPEAT))
        del data[self._max_len :]

    def _swap(self, data: bytearray) -> None:
        if len(data) > 1:
            a, b = self._at(data), self._at(data)
            data[a], data[b] = data[b], data[a]

    def _digits(self, data: bytearray) -> None:
        """Another number in place of a decimal one."""
        starts = [at for at, byte in enumerate(data[:512]) if 0x30 <= byte <= 0x39]
        if not starts:
            return
        start = end = self._chance.choice(starts)
        while end < len(data) and 0x30 <= data[end] <= 0x39:
            end += 1
        number = str(self._chance.choice(BOUNDS)).encode()
        if self._chance.random() < 0.5:
            digits = str(self._chance.randrange(10 ** self._chance.randrange(1, 12))).encode()
            zeros = b"0" * self._chance.randrange(9)
            number = self._chance.choice((zeros, zeros, b"9" * 5000, b"-", b"+", b"1e")) + digits
        data[start:end] = number

    def _insert_word(self, data: bytearray) -> None:
        at = self._chance.randrange(len(data) + 1)
        data[at:at] = self._chance.choice(self._words)

    def _put_word(self, data: bytearray) -> None:
        at = self._chance.randrange(len(data) + 1)
        word = self._chance.choice(self._words)
        data[at : at + len(word)] = word
