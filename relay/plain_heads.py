"""Heads of requests and answers that leave no question open, read at once. Pure.

Nearly every message is such: one version, one framing, no folded line, nothing between two hops
but `keep-alive`. Whatever is not (and whatever is wrong) is None here, and h11's to judge
(relay/exchange.py): what is accepted here, h11 takes for the same.
"""

from __future__ import annotations

import re

import msgspec

from relay.cookies import may_name_domain
from relay.http_rules import NO_CONTENT
from tunnel.http_forwarding import HOP_BY_HOP, is_forwarding
from tunnel.http_heads import FIELDS, maybe_length

MAX_PLAIN_HEAD = 16 * 1024  # bytes; a larger one is judged elsewhere

# Longer ones are not remembered for the next request: an idle visitor holds little memory.
MAX_REMEMBERED = 4 * 1024  # bytes of fields

_REQUEST = re.compile(rb"(([A-Z]{1,20}+) /[!-~]*+ HTTP/1\.1\r\n)" + FIELDS)
_ANSWER = re.compile(rb"HTTP/1\.1 ([2-5]\d\d)(?: [\t -~\x80-\xff]*+)?+(\r\n)" + FIELDS)
_HOST = re.compile(rb"[A-Za-z0-9.-]{1,255}+(?::\d{1,5}+)?+")

# Fields that end at this hop and mean nothing to it. `Connection` is looked at apart.
_DROPPED = HOP_BY_HOP - {b"connection", b"upgrade"}
# The fields of an answer that matter here, in a head that _ANSWER has matched: a line's end stands
# nowhere but at a line's end there.
_WEIGHTY_ANSWER = re.compile(
    rb"\r\n((?i:content-length|transfer-encoding|upgrade|connection|set-cookie|%b)):([^\r]*+)"
    % b"|".join(sorted(_DROPPED))
)
# A request with one of these is not plain.
_WEIGHTY = frozenset((b"transfer-encoding", b"upgrade", b"expect"))


class PlainRequest(msgspec.Struct, frozen=True, gc=False):
    """The head of a request whose body, if any, has a length."""

    size: int  # bytes of the head
    length: int  # bytes of the body
    method: bytes
    host: bytes  # as it came
    first: bytes  # the head's first line, with its end
    fields: bytes  # the lines behind it, as they came
    kept: bytes  # for the share: `host` and those of `fields` that the gateway does not replace

    @property
    def forwarded(self) -> bytes:
        """The head for the share, but for the fields that the gateway adds, and the end."""
        return self.first + self.kept


class PlainAnswer(msgspec.Struct, frozen=True, gc=False):
    """The head of a final answer whose connection stays open."""

    size: int  # bytes of the head
    head: bytes | None  # for the visitor; None: as it came
    length: int | None  # bytes of the body; None: in chunks


def maybe_request(data: bytes, before: PlainRequest | None = None) -> PlainRequest | None:
    """The request that `data` begins with, if it is plain and whole.

    `before` is any plain request: what it has the same fields as is not looked at again.
    """
    match = _REQUEST.match(data)
    if match is None or match.end() > MAX_PLAIN_HEAD:
        return None
    first, method, fields = match.groups()
    if method == b"CONNECT":
        return None
    if before is not None and fields == before.fields:
        length, host, kept = before.length, before.host, before.kept
        return PlainRequest(match.end(), length, method, host, first, fields, kept)
    return _maybe_fields(match.end(), first, method, fields)


def _maybe_fields(size: int, first: bytes, method: bytes, fields: bytes) -> PlainRequest | None:
    host = length = None
    kept = []
    for line in fields.split(b"\r\n")[:-1]:
        name, _, value = line.partition(b":")
        name = name.lower()
        if name == b"host":
            if host is not None:
                return None
            host = value.strip(b" \t")
        elif name == b"connection":
            if value.strip(b" \t").lower() != b"keep-alive":
                return None
        elif name == b"content-length":
            if length is not None or (length := maybe_length(value.strip(b" \t"))) is None:
                return None
            kept.append(line)
        elif name in _WEIGHTY:
            return None
        elif name not in _DROPPED and not is_forwarding(name):
            kept.append(line)
    if host is None or not _HOST.fullmatch(host):
        return None
    lines = b"\r\n".join((b"Host: " + host, *kept, b""))
    return PlainRequest(size, length or 0, method, host, first, fields, lines)


def maybe_answer(data: bytes, method: bytes) -> PlainAnswer | None:
    """The head of the answer to a request with `method` that `data` begins with, if it is plain
    and whole."""
    match = _ANSWER.match(data)
    if match is None:
        return None
    size, length = match.end(), None
    chunked = False
    cuts: list[int] = []  # where what is not passed on begins and ends, in turns
    for line in _WEIGHTY_ANSWER.finditer(data, match.start(2), size):
        name = line[1].lower()
        if name == b"content-length":
            if length is not None or (length := maybe_length(line[2].strip(b" \t"))) is None:
                return None
        elif name == b"transfer-encoding":
            if chunked or line[2].strip(b" \t").lower() != b"chunked":
                return None
            chunked = True
        elif name == b"set-cookie":
            if may_name_domain(line[2]):
                return None
        elif name == b"connection" and line[2].strip(b" \t").lower() != b"keep-alive":
            return None
        else:
            cuts += line.span()
    status = match[1]
    if method == b"HEAD" or status in NO_CONTENT:
        if chunked or (status == b"204" and length is not None):  # which has neither (RFC 9110 8.6)
            return None
        length = 0
    elif chunked == (length is not None):  # both, or until the connection ends
        return None
    if not cuts:
        return PlainAnswer(size, None, length)
    kept = zip([0, *cuts[1::2]], [*cuts[::2], size], strict=True)
    return PlainAnswer(size, b"".join([data[begin:end] for begin, end in kept]), length)
