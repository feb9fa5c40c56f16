"""Heads of HTTP/1.1 messages, read strictly and written again (RFC 9112). Pure.

For who stands behind a proxy that has made every message plain already: one framing, no folded
lines, fields with names. What is not so is a RemoteProtocolError, never a guess.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from tunnel.errors import RemoteProtocolError
from tunnel.http_bodies import FIELD, TCHAR, Body, ChunkedBody, EndlessBody, LengthBody

MAX_REQUEST_HEAD = 32 * 1024  # bytes: a visitor's 16 KiB, and what the gateway adds
MAX_ANSWER_HEAD = 64 * 1024  # bytes: servers with many cookies
MAX_LENGTH_DIGITS = 15  # of Content-Length: a thousand TB

FIELDS = rb"((?:" + FIELD + rb"\r\n)*+)\r\n"  # of a head, with its end
_REQUEST = re.compile(rb"(" + TCHAR + rb"{1,40}+) ([!-~]++) HTTP/1\.([01])\r\n" + FIELDS)
_ANSWER = re.compile(rb"HTTP/1\.([01]) ([1-5]\d\d)(?: ([\t -~\x80-\xff]*+))?+\r\n" + FIELDS)
_END = b"\r\n\r\n"
_NO_CONTENT = (204, 304)

Fields = list[tuple[bytes, bytes]]
"""Names as they came, values without the white space around them."""


def maybe_length(value: bytes) -> int | None:
    """The value of a Content-Length, without white space around it, if it is a plain one."""
    return int(value) if value.isdigit() and len(value) <= MAX_LENGTH_DIGITS else None


@dataclass(slots=True)
class Head:
    """What both kinds have. `minor`: of the version."""

    minor: int
    fields: Fields

    def values(self, name: bytes) -> list[bytes]:
        """All values of the field `name` (lower case), as they came."""
        return [value for field, value in self.fields if field.lower() == name]

    def value(self, name: bytes) -> bytes | None:
        """The first of them."""
        return next(iter(self.values(name)), None)

    def tokens(self, name: bytes) -> list[bytes]:
        """The members of a comma-separated field, in lower case."""
        members = b",".join(self.values(name)).lower().split(b",")
        return [each.strip(b" \t") for each in members if each.strip(b" \t")]

    def set(self, name: bytes, value: bytes) -> None:
        """One field `name`, where the first stood, or at the end."""
        at = next((i for i, each in enumerate(self.fields) if each[0].lower() == name.lower()), -1)
        self.drop(name)
        self.fields.insert(at if at >= 0 else len(self.fields), (name, value))

    def drop(self, name: bytes) -> None:
        """No field `name` any more."""
        self.fields[:] = [each for each in self.fields if each[0].lower() != name.lower()]


@dataclass(slots=True)
class RequestHead(Head):
    """A request's."""

    method: bytes
    target: bytes

    @property
    def path(self) -> bytes:
        """The target without its query."""
        return self.target.partition(b"?")[0]

    @property
    def is_upgrade(self) -> bool:
        """Whether it asks to change the protocol (RFC 9110 7.8), as to WebSocket."""
        return b"upgrade" in self.tokens(b"connection")

    def body(self) -> Body:
        """Where its body ends (RFC 9112 6.3). Raises RemoteProtocolError."""
        return _body(self) or LengthBody(0)

    def serialize(self) -> bytes:
        """As it is sent."""
        first = b"%b %b HTTP/1.%d\r\n" % (self.method, self.target, self.minor)
        return first + _serialize(self.fields)


@dataclass(slots=True)
class AnswerHead(Head):
    """An answer's."""

    status: int
    reason: bytes

    @property
    def is_final(self) -> bool:
        """Whether no other head follows for the same request; 101 is final in this sense."""
        return self.status >= 200 or self.status == 101

    def body(self, method: bytes) -> Body:
        """Where its body ends, as answer to a request with `method`. Raises
        RemoteProtocolError."""
        if method == b"HEAD" or self.status < 200 or self.status in _NO_CONTENT:
            return LengthBody(0)
        return _body(self) or EndlessBody()

    def serialize(self) -> bytes:
        """As it is sent."""
        first = b"HTTP/1.%d %d %b\r\n" % (self.minor, self.status, self.reason)
        return first + _serialize(self.fields)


def maybe_request(data: bytes | bytearray) -> tuple[RequestHead, int] | None:
    """The head that `data` begins with, and its size; None while it is incomplete.

    Raises RemoteProtocolError.
    """
    if not _is_whole(data, MAX_REQUEST_HEAD):
        return None
    match = _REQUEST.match(data)
    if match is None:
        raise RemoteProtocolError("the request is not plain HTTP/1.1")
    method, target, minor, fields = match.groups()
    head = RequestHead(int(minor), _parse(fields), bytes(method), bytes(target))
    if len(head.values(b"host")) != 1:
        raise RemoteProtocolError("a request without a Host, or with several")
    return head, match.end()


def maybe_answer(data: bytes | bytearray) -> tuple[AnswerHead, int] | None:
    """As maybe_request, of an answer."""
    if not _is_whole(data, MAX_ANSWER_HEAD):
        return None
    match = _ANSWER.match(data)
    if match is None:
        raise RemoteProtocolError("the answer is not plain HTTP/1.1")
    minor, status, reason, fields = match.groups()
    return AnswerHead(int(minor), _parse(fields), int(status), bytes(reason or b"")), match.end()


def _is_whole(data: bytes | bytearray, limit: int) -> bool:
    end = data.find(_END, 0, limit)
    if end < 0 and len(data) >= limit:
        raise RemoteProtocolError(f"a head of more than {limit} bytes")
    return end >= 0


def _parse(fields: bytes) -> Fields:
    lines = bytes(fields).split(b"\r\n")[:-1]
    pairs = (line.partition(b":") for line in lines)
    return [(name, value.strip(b" \t")) for name, _, value in pairs]


def _serialize(fields: Iterable[tuple[bytes, bytes]]) -> bytes:
    return b"".join(b"%b: %b\r\n" % field for field in fields) + b"\r\n"


def _body(head: Head) -> Body | None:
    """None: the head says nothing of a body."""
    codings, lengths = head.values(b"transfer-encoding"), set(head.values(b"content-length"))
    if codings:
        if [each.lower() for each in codings] != [b"chunked"] or lengths or not head.minor:
            raise RemoteProtocolError("the length of a message is ambiguous")
        return ChunkedBody()
    if not lengths:
        return None
    length = maybe_length(lengths.pop())
    if lengths or length is None:
        raise RemoteProtocolError("the length of a message is ambiguous")
    return LengthBody(length)
