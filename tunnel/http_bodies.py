"""Where a message's body ends, found without changing it (RFC 9112 6, 7). Pure.

Each class has `take`, which says how many bytes of what came belong to the body, and gives the
payload among them (which a body in chunks has between its chunks' heads) to whoever wants it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeAlias

from tunnel.ends import Bytes
from tunnel.errors import RemoteProtocolError

MAX_CHUNK_HEAD = 1024  # bytes of a chunk's first line: some servers have extensions there
MAX_TRAILERS = 16 * 1024  # bytes of what follows the last chunk
# What a method and a field's name are made of (RFC 9110 5.6.2), without its repetition.
TCHAR = rb"[-!#$%&'*+.^_`|~0-9A-Za-z]"
FIELD = TCHAR + rb"++:[\t -~\x80-\xff]*+"  # a line, without its end
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15}+)[\t ]*+(?:;[\t -~\x80-\xff]*+)?+\r\n")
_TRAILER = re.compile(FIELD + rb"\r\n")
_CRLF = b"\r\n"

Payload: TypeAlias = Callable[[Bytes], None]
"""Is given each piece of a body's payload; the memory is used again after the call."""


def ignore(_: Bytes) -> None:
    """A Payload that nobody wants."""


class LengthBody:
    """A body of `length` bytes."""

    def __init__(self, length: int) -> None:
        self._left = length

    @property
    def is_whole(self) -> bool:
        """Whether all of it was seen."""
        return not self._left

    def take(self, data: Bytes, payload: Payload = ignore) -> int:
        """How many bytes of `data` belong to it."""
        size = min(self._left, len(data))
        self._left -= size
        if payload is not ignore:  # else bytes would be copied for nobody
            payload(data[:size])
        return size


class EndlessBody:
    """A body that ends with its connection (RFC 9112 6.3, 8)."""

    is_whole = False

    def take(self, data: memoryview, payload: Payload = ignore) -> int:
        """All of it."""
        payload(data)
        return len(data)


class ChunkedBody:
    """A body in chunks, with extensions and trailers, which are looked at for their form alone."""

    def __init__(self) -> None:
        self._left = 0  # bytes of a chunk, and of the line's end behind it
        self._line = bytearray()  # the begin of a line whose rest is to come
        self._trailers = -1  # bytes of them, once the last chunk was seen
        self.is_whole = False

    def take(self, data: memoryview, payload: Payload = ignore) -> int:
        """How many bytes of `data` belong to it. Raises RemoteProtocolError."""
        at = 0
        while at < len(data) and not self.is_whole:
            if self._left:
                at += self._take_chunk(data[at:], payload)
            else:
                at += self._take_line(data[at:])
        return at

    def _take_chunk(self, data: memoryview, payload: Payload) -> int:
        size = min(self._left, len(data))
        inside = min(size, max(0, self._left - len(_CRLF)))
        if inside:
            payload(data[:inside])
        if size > inside:
            due = _CRLF[-min(self._left, len(_CRLF)) :]
            if data[inside:size] != due[: size - inside]:
                raise RemoteProtocolError("a chunk is longer than it says")
        self._left -= size
        return size

    def _take_line(self, data: memoryview) -> int:
        """The next line, or as much of it as has come; how many bytes of `data` that is."""
        limit = MAX_CHUNK_HEAD if self._trailers < 0 else MAX_TRAILERS - self._trailers
        begin = bytes(data[: limit + 1])
        end = begin.find(b"\n") + 1
        self._line += begin[:end] if end else begin
        if len(self._line) > limit:
            raise RemoteProtocolError("a line between chunks is too long")
        if end:
            line = bytes(self._line)
            self._line.clear()
            self._read_line(line)
        return end or len(begin)

    def _read_line(self, line: bytes) -> None:
        if self._trailers < 0:
            match = _SIZE.fullmatch(line)
            if match is None:
                raise RemoteProtocolError("a chunk's size is none")
            size = int(match[1], 16)
            if size:
                self._left = size + len(_CRLF)
            else:
                self._trailers = 0
        elif line == _CRLF:
            self.is_whole = True
        elif _TRAILER.fullmatch(line):
            self._trailers += len(line)
        else:
            raise RemoteProtocolError("a trailer is no field")


Body: TypeAlias = LengthBody | EndlessBody | ChunkedBody
