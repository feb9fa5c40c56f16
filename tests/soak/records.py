"""What the load tells: one record for each thing it did. Times are CLOCK_MONOTONIC's, in seconds,
which all hosts of the lab share."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from pathlib import Path

import msgspec


class Result(enum.StrEnum):
    """How it ended."""

    OK = "ok"
    ERROR = "error"
    """It was told that it could not go on."""

    WRONG = "wrong"
    """Bytes lost, changed or repeated, or an end of stream that came too early."""

    HUNG = "hung"
    """Nothing moved for longer than any fault lasts."""


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """`opened`: when the stream was there; 0 if it never was. `lost` and `repeated` count
    datagrams. A `probe` is a stream that is opened and answers one byte."""

    kind: str
    way: str
    began: float
    opened: float
    ended: float
    result: Result
    moved: int = 0
    text: str = ""
    lost: int = 0
    repeated: int = 0


def read(path: Path) -> list[Record]:
    """The records in a file, but one that is only half written."""
    lines = path.read_bytes().split(b"\n")[:-1]
    return [msgspec.json.decode(line, type=Record) for line in lines]


def ending(records: Iterable[Record], kind: str) -> list[Record]:
    """Those of one kind, by when they ended."""
    return sorted((each for each in records if each.kind == kind), key=lambda each: each.ended)
