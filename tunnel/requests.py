"""What other terminals ask of a program that runs, and what it answers: JSON, a line each. Pure.

A request is `{"command": "kick", "guest": "bob"}`; its answer `{"ok": true, "result": {...}}`, or
`{"ok": false, "error": ..., "hint": ..., "exit": 1}`. The commands are vshare/requests.py's and
connect_vm/requests.py's; what is said here holds for both.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

from tunnel.errors import RemoteProtocolError

MAX_REQUEST = 16 * 1024  # bytes of one line; the largest is an invite that names every port it can
MAX_ANSWER = 2 * 1024 * 1024  # bytes of one line: 1,024 guests and as many who wait, 500 each


class Request(msgspec.Struct, frozen=True, tag_field="command"):
    """One command; unknown members are ignored."""


class Result(msgspec.Struct, frozen=True):
    """What a command gives; unknown members are ignored."""


class Failure(msgspec.Struct, frozen=True):
    """Why a command was not done, as VshareError has it; `exit` is the command's exit code."""

    error: str
    hint: str = ""
    exit: int = 1
    ok: bool = False


class Answer(msgspec.Struct, frozen=True):
    """An answer as it is read; either `result` or what Failure has counts."""

    ok: bool
    result: msgspec.Raw = msgspec.Raw(b"{}")
    error: str = ""
    hint: str = ""
    exit: int = 1


Q = TypeVar("Q", bound=Request)

_encoder = msgspec.json.Encoder()
_answer = msgspec.json.Decoder(Answer)


def serialize(request: Request) -> bytes:
    """The line that asks for `request`."""
    return _encoder.encode(request) + b"\n"


def parse_with(decoder: msgspec.json.Decoder[Q], line: bytes) -> Q:
    """What a terminal asks, one of the requests that `decoder` knows. Raises
    RemoteProtocolError."""
    if len(line) > MAX_REQUEST:
        raise RemoteProtocolError(f"a request of more than {MAX_REQUEST} bytes")
    try:
        return decoder.decode(line)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise RemoteProtocolError(f"a request that does not parse: {error}") from None


def serialize_result(result: object) -> bytes:
    """The line that answers with `result`, a Result."""
    return _encoder.encode({"ok": True, "result": result}) + b"\n"


def serialize_failure(failure: Failure) -> bytes:
    """The line that answers with an error."""
    return _encoder.encode(failure) + b"\n"


def parse_answer(line: bytes) -> Answer:
    """What the program answered. Raises RemoteProtocolError."""
    try:
        return _answer.decode(line)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise RemoteProtocolError(f"an answer that does not parse: {error}") from None
