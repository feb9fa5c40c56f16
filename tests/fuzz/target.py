"""One parser under fuzz, and the ways its input is cut."""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

EVERY_CUT = 64  # bytes; longer inputs are cut at every byte only now and then
RARELY = 64  # one in so many of them
CUTS = 6  # random ones, at most

Event: TypeAlias = object
Feed: TypeAlias = Callable[[Iterable[bytes]], object]


@dataclass(frozen=True)
class Target:
    """A parser. `run` feeds it one input, checks what must hold, and lets `accepted` out.

    `modules` are the files (dotted names) whose lines guide the choice of inputs. `words` are
    put into inputs as they are; `generate` makes near-valid ones where bytes mutate badly.
    `share` is the part of the inputs asked for that it gets, below 1 where each is slow, and
    `slow` says why.
    """

    name: str
    run: Callable[[bytes], None]
    accepted: tuple[type[BaseException], ...]
    seeds: tuple[bytes, ...]
    modules: tuple[str, ...]
    words: tuple[bytes, ...] = ()
    generate: Callable[[random.Random], bytes] | None = None
    max_len: int = 4096
    share: float = 1.0
    slow: str = ""


class BrokenInvariantError(AssertionError):
    """What a parser promises did not hold; `rule` names it, without the input's values."""

    def __init__(self, rule: str, details: object = "") -> None:
        super().__init__(f"{rule} {details!r}"[:500])
        self.rule = rule


def require(holds: object, rule: str, details: object = "") -> None:
    """Like assert, also under `python -O`. `rule` must not contain values of the input."""
    if not holds:
        raise BrokenInvariantError(rule, details)


def cuts_of(data: bytes) -> Iterator[list[bytes]]:
    """`data` in pieces: at random points, and byte by byte unless that is too much.

    The points depend on `data` alone, so that a failure can be repeated.
    """
    random_of = random.Random(zlib.crc32(data))
    points = sorted(random_of.randrange(len(data) + 1) for _ in range(random_of.randint(1, CUTS)))
    starts, ends = [0, *points], [*points, len(data)]
    yield [data[start:end] for start, end in zip(starts, ends, strict=True)]
    if len(data) <= EVERY_CUT or random_of.randrange(RARELY) == 0:
        yield [data[at : at + 1] for at in range(len(data))]


def same_however_cut(data: bytes, feed: Feed) -> None:
    """`feed(pieces)` must give an equal outcome for `data` whole and in pieces."""
    whole = feed([data])
    for pieces in cuts_of(data):
        found = feed(pieces)
        require(found == whole, "the outcome depends on how it arrives", (found, whole))


def choose(data: bytes) -> tuple[int, bytes]:
    """A number that the input's first byte stands for, and the rest."""
    return (data[0], data[1:]) if data else (0, b"")


def fields_of(data: bytes) -> Iterator[bytes]:
    """`data` taken apart as `length:u8 bytes`: several messages or datagrams in one input."""
    while data:
        size = data[0]
        yield data[1 : 1 + size]
        data = data[1 + size :]


def joined(fields: Iterable[bytes]) -> bytes:
    """The counterpart of fields_of; each has at most 255 bytes."""
    return b"".join(bytes([len(field)]) + field for field in fields)
