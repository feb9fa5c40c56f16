"""Heads of requests and answers that leave no question open, read at once. Pure.

Nearly every message is such: one version, one framing, no folded line, nothing between two hops
but `keep-alive`. Whatever is not (and whatever is wrong) is None here, and h11's to judge
(relay/exchange.py): what is accepted here, h11 takes for the same.
"""

from __future__ import annotations

import re

import msgspec

from relay.http_rules import NO_CONTENT, is_forwarding

MAX_PLAIN_HEAD = 16 * 1024  # bytes; a larger one is judged elsewhere
MAX_LENGTH_DIGITS = 15  # of Content-Length: a thousand TB

_FIELDS = rb"((?:[-!#$%&'*+.^_`|~0-9A-Za-z]++:[\t -~\x80-\xff]*+\r\n)*+)\r\n"
_REQUEST = re.compile(rb"([A-Z]{1,20}+) (/[!-~]*+) HTTP/1\.1\r\n" + _FIELDS)
_ANSWER = re.compile(rb"(HTTP/1\.1 ([2-5]\d\d)(?: [\t -~\x80-\xff]*+)?+\r\n)" + _FIELDS)
_HOST = re.compile(rb"[A-Za-z0-9.-]{1,255}+(?::\d{1,5}+)?+")

# Fields that end at this hop and mean nothing to it. `Connection` is looked at apart.
_DROPPED = frozenset(
    (b"keep-alive", b"proxy-connection", b"te", b"proxy-authorization", b"proxy-authenticate")
)
# A request with one of these is not plain.
_WEIGHTY = frozenset((b"transfer-encoding", b"upgrade", b"expect"))


class PlainRequest(msgspec.Struct, frozen=True, gc=False):
    """The head of a request whose body, if any, has a length."""

    size: int  # bytes of the head
    length: int  # bytes of the body
    method: bytes
    host: bytes  # as it came
    forwarded: (
        bytes  # the head for the share, but for the fields that the gateway adds, and the end
    )


class PlainAnswer(msgspec.Struct, frozen=True, gc=False):
    """The head of a final answer whose connection stays open."""

    size: int  # bytes of the head
    head: bytes | None  # for the visitor; None: as it came
    length: int | None  # bytes of the body; None: in chunks


def maybe_request(data: bytes) -> PlainRequest | None:
    """The request that `data` begins with, if it is plain and whole."""
    match = _REQUEST.match(data)
    if match is None or match.end() > MAX_PLAIN_HEAD:
        return None
    method, target, fields = match.groups()
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
            if length is not None or (length := _maybe_length(value)) is None:
                return None
            kept.append(line)
        elif name in _WEIGHTY:
            return None
        elif name not in _DROPPED and not is_forwarding(name):
            kept.append(line)
    if host is None or method == b"CONNECT" or not _HOST.fullmatch(host):
        return None
    first = b"%b %b HTTP/1.1\r\nHost: %b\r\n" % (method, target, host)
    kept.append(b"")
    return PlainRequest(match.end(), length or 0, method, host, first + b"\r\n".join(kept))


def maybe_answer(data: bytes, method: bytes) -> PlainAnswer | None:
    """The head of the answer to a request with `method` that `data` begins with, if it is plain
    and whole."""
    match = _ANSWER.match(data)
    if match is None:
        return None
    first, status, fields = match.groups()
    length: int | None = None
    chunked = changed = False
    kept = [first[:-2]]
    for line in fields.split(b"\r\n")[:-1]:
        name, _, value = line.partition(b":")
        name = name.lower()
        if name == b"content-length":
            if length is not None or (length := _maybe_length(value)) is None:
                return None
        elif name == b"transfer-encoding":
            if chunked or value.strip(b" \t").lower() != b"chunked":
                return None
            chunked = True
        elif name == b"connection":
            if value.strip(b" \t").lower() != b"keep-alive":
                return None
            changed = True
            continue
        elif name in _DROPPED or name == b"upgrade":
            changed = True
            continue
        kept.append(line)
    if method == b"HEAD" or status in NO_CONTENT:
        if chunked:
            return None
        length = 0
    elif chunked == (length is not None):  # both, or until the connection ends
        return None
    head = b"\r\n".join((*kept, b"", b"")) if changed else None
    return PlainAnswer(match.end(), head, length)


def _maybe_length(value: bytes) -> int | None:
    """The value of a Content-Length that is plain."""
    value = value.strip(b" \t")
    return int(value) if value.isdigit() and len(value) <= MAX_LENGTH_DIGITS else None
