"""The lines of an audit log, chained by their hashes (docs/logging.md). Pure.

A line is a JSON object: `n` (from 0), `time` (seconds since the epoch), `event`, the event's
fields, and `prev`, the SHA-256 of the line before it, without its newline. The *head* is the
hash of the last line. So whoever holds a head holds everything before it: a line that is
changed, taken out, put in or moved breaks the chain, and a cut tail misses the head.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import TypeAlias

import msgspec

from vshare.news import Value

START = hashlib.sha256(b"vshare audit log 1").hexdigest()  # stands before line 0
MAX_LINE = 16 * 1024  # bytes with the newline: several times the longest that is written
MAX_TEXT = 300  # characters of one field: a peer chose it
SHORT_TEXT = 30  # characters of each, where all of them together are too much for a line
MAX_FIELDS = 32  # of an event; the longest has 8
MIN_HEAD, MAX_HEAD = 32, 64  # hex digits of a head, as with a relay's fingerprint

_ENCODER = json.JSONEncoder(separators=(",", ":"))  # made once: dumps() makes one each time
_RESERVED = frozenset({"n", "time", "event", "prev"})
_Object: TypeAlias = dict[str, bool | int | float | str | None]


class BadLineError(ValueError):
    """This line is not one of an audit log; the text says what it is instead."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line."""

    n: int
    time: float
    event: str
    fields: Mapping[str, Value]
    prev: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What `verify` found. `lines` are in order, and `head` is the hash of the last of them;
    `problem` is what is wrong with the line after them, empty if the log is whole.
    `following` is how many lines come after the head that was asked for; None if it did not
    occur, or none was asked for."""

    lines: int
    head: str
    problem: str = ""
    following: int | None = None


def digest(line: bytes) -> str:
    """The hash of a line, newline or not, as its successor carries it."""
    return hashlib.sha256(line.removesuffix(b"\n")).hexdigest()


def serialize(entry: Entry) -> bytes:
    """The line of `entry`, newline included, at most MAX_LINE long; long texts are cut.

    All of it is ASCII, so that a terminal which is shown the file takes no orders from it.
    """
    line = _serialize(entry, MAX_TEXT)
    return line if len(line) <= MAX_LINE else _serialize(entry, SHORT_TEXT)


def _serialize(entry: Entry, limit: int) -> bytes:
    fields = {
        key: _clean(value, limit)
        for key, value in islice(entry.fields.items(), MAX_FIELDS)
        if key not in _RESERVED
    }
    start = {"n": entry.n, "time": entry.time, "event": _clean(entry.event, SHORT_TEXT)}
    whole = start | fields | {"prev": entry.prev}
    line = msgspec.json.encode(whole)  # much quicker; it leaves DEL and what is not ASCII as it is
    if not line.isascii() or b"\x7f" in line:
        line = _ENCODER.encode(whole).encode()
    return line + b"\n"


def _clean(value: Value, limit: int) -> Value:
    """A text of at most `limit` characters that can be encoded; no number that JSON lacks."""
    if isinstance(value, str):
        if len(value) <= limit and value.isascii():
            return value
        return value[:limit].encode(errors="replace").decode()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def parse(line: bytes) -> Entry:
    """The entry of a line, with its newline. Raises BadLineError."""
    if len(line) > MAX_LINE:
        raise BadLineError(f"is longer than {MAX_LINE} bytes")
    if not line.endswith(b"\n"):
        raise BadLineError("is unfinished: it was being written when the share was killed, or cut")
    try:
        found = msgspec.json.decode(line, type=_Object)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise BadLineError("is not a line of an audit log") from None
    n, time, event, prev = (found.pop(key, None) for key in ("n", "time", "event", "prev"))
    if (
        not isinstance(n, int)
        or not isinstance(time, int | float)
        or not isinstance(event, str)
        or not isinstance(prev, str)
    ):
        raise BadLineError("is not a line of an audit log")
    return Entry(n, time, event, found, prev)


def verify(lines: Iterable[bytes], wanted: str = "") -> Verdict:
    """Follow the chain through `lines`, each with its newline, up to the first that does not
    belong. `wanted` is the head (or its first digits) to look for on the way."""
    head, number = START, 0
    following = _begins(head, wanted)
    for line in lines:
        try:
            _check(parse(line), number, head)
        except BadLineError as error:
            return Verdict(number, head, str(error), following)
        head = digest(line)
        number += 1
        following = _begins(head, wanted) if following is None else following + 1
    return Verdict(number, head, "", following)


def _begins(head: str, wanted: str) -> int | None:
    return 0 if wanted and head.startswith(wanted.lower()) else None


def _check(entry: Entry, number: int, head: str) -> None:
    if entry.n != number:
        raise BadLineError(
            f"calls itself number {entry.n} and should be {number}: lines were taken out, put in"
            " or moved"
        )
    if entry.prev != head:
        before = "starts another log" if not number else "does not continue the line before it"
        raise BadLineError(f"{before}: one of them was changed, or a line was put in its place")


def entries(lines: Iterable[bytes]) -> Iterator[Entry | BadLineError]:
    """What can be read of `lines`, in order, for showing it; the chain is not looked at."""
    for line in lines:
        try:
            yield parse(line)
        except BadLineError as error:
            yield error
