"""Where an answer's body in plain chunks ends, found without touching it (RFC 9112 7). Pure."""

from __future__ import annotations

import re

from tunnel.ends import Bytes
from tunnel.errors import RemoteProtocolError

# In one read: one visitor's tiny chunks must not cost the others their time.
MAX_CHUNKS = 256
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,8}+)\r\n")
_CRLF = b"\r\n"


class ChunkedBody:
    """A body in plain chunks: no extensions, no trailers, no chunk's head in two pieces."""

    def __init__(self) -> None:
        self._left = 0  # bytes of a chunk and of the line's end behind it
        self.is_whole = False

    def take(self, data: Bytes) -> int:
        """How many bytes of `data` belong to it. If that is not all, and it is not whole, then a
        chunk would begin there that is not plain. Raises RemoteProtocolError.
        """
        at = chunks = 0
        while at < len(data):
            left = self._left
            if left > len(_CRLF):
                size = min(left - len(_CRLF), len(data) - at)
            elif left:
                size = min(left, len(data) - at)
                if data[at : at + size] != _CRLF[-left:][:size]:
                    raise RemoteProtocolError("a chunk is longer than it says")
            else:
                match = _CHUNK.match(data, at)
                chunks += 1
                if match is None or chunks > MAX_CHUNKS:
                    return at
                size = match.end() - at
                left = int(match[1], 16) + len(_CRLF) + size
                if left == len(_CRLF) + size:  # the last one
                    end = match.end() + len(_CRLF)
                    if data[match.end() : end] != _CRLF:
                        return at
                    self.is_whole = True
                    return end
            at += size
            self._left = left - size
        return at
