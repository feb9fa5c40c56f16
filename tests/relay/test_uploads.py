"""Bodies of requests: passed on as they came where they are plain, and never longer or shorter."""

from __future__ import annotations

import asyncio
import contextlib
from typing import cast

import h11
import pytest

from relay.plain_bodies import MAX_CHUNKS
from relay.streams import UpstreamStream, VisitorStream
from relay.strict_heads import check_head
from relay.uploads import Upload, without_framing
from tests.loops import run, until
from tunnel.ends import Bytes
from tunnel.errors import RemoteProtocolError

NEXT = b"GET /next HTTP/1.1\r\n\r\n"
CUTS = [1, 2, 3, 7, 1000]


class Visitor:
    """Says pieces, then hangs up."""

    def __init__(self, data: bytes, size: int) -> None:
        self.pieces = [data[at : at + size] for at in range(0, len(data), size)]

    async def receive_some(self) -> bytes:
        return self.pieces.pop(0) if self.pieces else b""


class Share:
    """Keeps what it gets, while `ready` is set."""

    def __init__(self) -> None:
        self.got = b""
        self.sends = 0
        self.ready = asyncio.Event()
        self.ready.set()

    async def send_all(self, data: Bytes) -> None:
        self.sends += 1
        await self.ready.wait()
        self.got += bytes(data)


def request(framing: str) -> h11.Request:
    name, _, value = framing.partition(": ")
    return h11.Request(method="POST", target="/", headers=[("Host", "a"), (name, value)])


def send(framing: str, data: bytes, cut: int, first: int = 0) -> tuple[bytes, bytes, bool]:
    """What the share gets, what is left for the next request, whether the body is whole."""
    share, visitor = Share(), Visitor(data[first:], cut)
    upload = Upload(request(framing), data[:first])

    async def main() -> None:
        await upload.send(cast(VisitorStream, visitor), cast(UpstreamStream, share))

    run(main)
    return share.got, upload.rest + b"".join(visitor.pieces), upload.is_whole


CHUNKED = "Transfer-Encoding: chunked"
PLAIN = [
    ("Content-Length: 5", b"hello"),
    (CHUNKED, b"0\r\n\r\n"),
    (CHUNKED, b"5\r\nhello\r\n00000010\r\n0\r\n\r\nGET / HTTP/\r\n0\r\n\r\n"),
    (CHUNKED, b"1\r\na\r\n" * 40 + b"000\r\n\r\n"),
]


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize(("framing", "body"), PLAIN)
def test_a_plain_body_passes_as_it_came(framing: str, body: bytes, cut: int) -> None:
    for first in (0, 1, len(body), len(body) + 1):
        assert send(framing, body + NEXT, cut, first) == (body, NEXT, True)


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize(
    ("body", "payload", "end"),
    [
        (b"2;a=b\r\nok\r\n0\r\n\r\n", b"ok", b"0\r\n\r\n"),
        (b"2\r\nok\r\n1;x\r\na\r\n0\r\n\r\n", b"oka", b"0\r\n\r\n"),
        (b"2\r\nok\r\n0\r\nX-Sum: 1\r\nContent-Length: 9\r\n\r\n", b"ok", b"0\r\nX-Sum: 1\r\n\r\n"),
        (b"2\r\nok\r\n0;a\r\n\r\n", b"ok", b"0\r\n\r\n"),
    ],
)
def test_an_odd_body_is_made_plain(body: bytes, payload: bytes, end: bytes, cut: int) -> None:
    for first in (0, len(body)):
        got, rest, whole = send(CHUNKED, body + NEXT, cut, first)
        assert got.endswith(end)
        assert unchunked(got.removesuffix(end)) == payload
        assert (rest, whole) == (NEXT, True)


def unchunked(data: bytes) -> bytes:
    found = b""
    while data:
        size, _, data = data.partition(b"\r\n")
        length = int(size, 16)
        found += data[:length]
        assert data[length : length + 2] == b"\r\n"
        data = data[length + 2 :]
    return found


def test_very_many_chunks_are_joined() -> None:
    count = 4 * MAX_CHUNKS
    body = b"1\r\na\r\n" * count + b"0\r\n\r\n"
    got, rest, _ = send(CHUNKED, body + NEXT, len(body) * 2)
    assert len(got) < len(body) // 2  # the first that were looked at passed as they came
    assert (unchunked(got.removesuffix(b"0\r\n\r\n")), rest) == (b"a" * count, NEXT)


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize(
    "body",
    [
        b"5\r\nhello0\r\n\r\n",
        b"4\r\nhello\r\n0\r\n\r\n",
        b"2\r\nok\r\r\n0\r\n\r\n",
        b"2\nok\r\n0\r\n\r\n",
        b"2\r\nok\n0\r\n\r\n",
        b"x\r\n",
        b"-1\r\n",
        b" 1\r\na\r\n0\r\n\r\n",
        b"0x1\r\na\r\n0\r\n\r\n",
        b"1" * 30 + b"\r\na",
        b"1\r\na\r\n0\r\nno field\r\n\r\n",
        b"1\r\na\r\n0\r\n Content-Length: 1\r\n\r\n",
        b"1\r\na\r\n",
    ],
)
def test_what_is_no_body_is_never_whole(body: bytes, cut: int) -> None:
    upload = Upload(request(CHUNKED), b"")

    async def main() -> None:
        visitor, share = Visitor(body, cut), Share()
        with pytest.raises((h11.RemoteProtocolError, RemoteProtocolError)):
            await upload.send(cast(VisitorStream, visitor), cast(UpstreamStream, share))
        assert b"0\r\n\r\n" not in share.got

    run(main)
    assert not upload.is_whole


@pytest.mark.parametrize(("framing", "body"), [*PLAIN, (CHUNKED, b"2\r\nok\r\n0;a\r\n\r\n")])
def test_a_body_is_not_whole_before_the_share_was_sent_it(framing: str, body: bytes) -> None:
    upload, share = Upload(request(framing), b""), Share()

    async def main() -> None:
        visitor = cast(VisitorStream, Visitor(body, len(body)))
        share.ready.clear()
        async with asyncio.TaskGroup() as group:
            sending = group.create_task(upload.send(visitor, cast(UpstreamStream, share)))
            await until(lambda: share.sends)
            assert not upload.is_whole
            sending.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await sending

    run(main)
    assert not upload.is_whole


def test_what_has_come_is_taken_at_once() -> None:
    upload = Upload(request("Content-Length: 5"), b"hello" + NEXT)
    assert (upload.take(), upload.rest, upload.is_whole) == (b"hello", NEXT, True)


@pytest.mark.parametrize("end", ["\r\n", "\n"])
@pytest.mark.parametrize("field", ["content-LENGTH:5", "Transfer-Encoding: \tchunked "])
def test_a_head_without_its_framing(end: str, field: str) -> None:
    others = f"POST /content-length:5 HTTP/1.1{end}Host: a{end}X-Content-Length: 5{end}"
    head = f"{others}{field}{end}A: content-length: 5{end}{end}".encode()
    check_head(head)
    assert without_framing(head) == f"{others}A: content-length: 5{end}{end}".encode()
