"""Heads of requests, looked at before anything is made of them (RFC 9112 2.2, 3, 5). Pure.

h11 joins folded lines and lengths that are said twice, and takes any version: what programs have
read in two ways is refused here. What passes is a request to h11, and the same one.
"""

from __future__ import annotations

import re
from http import HTTPStatus

from relay.http_rules import HttpError
from tunnel.http_bodies import FIELD, TCHAR
from tunnel.http_heads import maybe_length

MAX_REQUEST_HEAD = 16 * 1024  # bytes

_EMPTY_LINES = re.compile(rb"(?:\r?\n)*+")  # RFC 9112 2.2: some programs end a body with one
_END = re.compile(rb"\n\r?\n")
_HEAD = re.compile(TCHAR + rb"++ [!-~]++ HTTP/([0-9])\.[0-9]\r?\n((?:" + FIELD + rb"\r?\n)*+)\r?\n")
_LENGTH = re.compile(rb"^content-length:([^\r\n]*+)", re.MULTILINE | re.IGNORECASE)
_FIRST = ord("!")  # what a request may begin with


def cut_empty_lines(data: bytes) -> bytes:
    """`data` without the empty lines that it begins with."""
    match = _EMPTY_LINES.match(data)
    return data[match.end() :] if match is not None else data


def maybe_head(data: bytes) -> bytes | None:
    """The head that `data` begins with, to its end; None while it is incomplete. Raises HttpError
    for what becomes none, or too large a one."""
    found = _END.search(data)
    end = found.end() if found else len(data)
    if end > MAX_REQUEST_HEAD:
        status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
        raise HttpError(status, "The request's head is too large")
    if data and data[0] < _FIRST and data != b"\r":
        raise _not_valid("it does not begin with a method")
    return data[:end] if found else None


def check_head(head: bytes) -> None:
    """Raises HttpError for a head that somebody could read differently."""
    match = _HEAD.fullmatch(head)
    if match is None:
        raise _not_valid("its head has a line that is no field, or a character that is none")
    major, fields = match.groups()
    if major != b"1":
        status = HTTPStatus.HTTP_VERSION_NOT_SUPPORTED
        raise HttpError(status, "This version of HTTP is not spoken here")
    lengths = [each.strip(b" \t") for each in _LENGTH.findall(fields)]
    if len(lengths) > 1 or None in map(maybe_length, lengths):
        raise _not_valid("its length is no number, or more than one")


def _not_valid(hint: str) -> HttpError:
    return HttpError(HTTPStatus.BAD_REQUEST, "The request is not valid HTTP", hint)
