"""Whether a share's URL answers: asked at its relay, as a visitor would ask."""

from __future__ import annotations

import asyncio
import contextlib
from urllib.parse import urlsplit

from tunnel.address import RelayAddress
from tunnel.errors import VshareError
from tunnel.relay_tls import dial_relay

ANSWER_WITHIN = 5.0  # seconds; a development server may take that long for its first page
MAX_ANSWER = 64 * 1024  # bytes that are looked at
# What the relay says in the place of a share or a machine that does not answer.
_NOT_THERE = frozenset({502, 503, 504})
_FIELDS = "Accept: application/json\r\nUser-Agent: vshare-wait\r\nConnection: close\r\n"
_NOT_FOUND = 404  # the relay's, or the site's own
_RELAYS_OWN = (b"\r\nx-robots-tag: noindex\r\n", b'"detail":')  # tunnel/http_pages.py


async def url_answers(relay: RelayAddress, url: str) -> bool:
    """Whether the site at `url` answers by `relay`, whatever it says; no error is raised."""
    host = urlsplit(url).netloc
    request = f"GET / HTTP/1.1\r\nHost: {host}\r\n{_FIELDS}\r\n".encode()
    try:
        async with asyncio.timeout(ANSWER_WITHIN):
            sock = await dial_relay(relay)
            reader, writer = await asyncio.open_connection(sock=sock)
            try:
                writer.write(request)
                return _is_answer(await _receive(reader))
            finally:
                writer.transport.abort()
    except (OSError, TimeoutError, VshareError):
        return False


async def _receive(reader: asyncio.StreamReader) -> bytes:
    """What comes until the end; at least the head of the answer, where it is longer."""
    data = bytearray()
    with contextlib.suppress(ConnectionError):
        while len(data) < MAX_ANSWER and (part := await reader.read(MAX_ANSWER)):
            data += part
            if b"\r\n\r\n" in data and not _may_be_relays(bytes(data)):
                break
    return bytes(data)


def _is_answer(answer: bytes) -> bool:
    status = _status(answer)
    if status is None or status in _NOT_THERE:
        return False
    return not (_may_be_relays(answer) and _RELAYS_OWN[1] in answer)


def _may_be_relays(answer: bytes) -> bool:
    return _status(answer) == _NOT_FOUND and _RELAYS_OWN[0] in answer.lower()


def _status(answer: bytes) -> int | None:
    words = answer[:32].split(b" ", 2)
    if len(words) < 3 or not words[0].startswith(b"HTTP/1.") or not words[1].isdigit():
        return None
    return int(words[1])
