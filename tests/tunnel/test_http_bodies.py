from __future__ import annotations

import pytest

from tunnel.ends import Bytes
from tunnel.errors import RemoteProtocolError
from tunnel.http_bodies import Body, ChunkedBody, EndlessBody, LengthBody


def fed(body: Body, data: bytes, step: int) -> tuple[int, bytes]:
    """How many bytes of `data`, which comes in pieces, belong to the body; the payload."""
    payload = bytearray()

    def keep(piece: Bytes) -> None:
        payload.extend(piece)

    taken = 0
    for at in range(0, len(data), step):
        piece = data[at : at + step]
        size = body.take(memoryview(piece), keep)
        taken += size
        if size < len(piece):
            break
    return taken, bytes(payload)


CHUNKED = b'4\r\nWiki\r\n6;name="a"\r\npedia \r\n00D\r\nin \r\n\r\nchunks\r\n0\r\nX-Sum: 1\r\n\r\n'


@pytest.mark.parametrize("step", [1, 2, 3, 7, 1000])
def test_bodies_end_where_they_end(step: int) -> None:
    body: Body = ChunkedBody()
    assert fed(body, CHUNKED + b"GET /", step) == (len(CHUNKED), b"Wikipedia in \r\n\r\nchunks")
    assert body.is_whole
    body = LengthBody(5)
    assert fed(body, b"hello, you", step) == (5, b"hello")
    assert body.is_whole
    body = EndlessBody()
    assert fed(body, b"hello, you", step) == (10, b"hello, you")
    assert not body.is_whole


@pytest.mark.parametrize("step", [1, 1000])
@pytest.mark.parametrize(
    "data",
    [
        b"4\r\nWikiX\r\n",
        b"4\r\nWiki\rX",
        b"4\nWiki\r\n",
        b"-1\r\n",
        b"\r\n",
        b"0x4\r\nWiki\r\n",
        b"4 4\r\nWiki\r\n",
        b"1234567890abcdef\r\n",
        b"0\r\nno field\r\n\r\n",
        b"0\r\n folded: 1\r\n\r\n",
        b"4;" + b"x" * 1100,
        b"0\r\n" + b"A: b\r\n" * 3000,
    ],
)
def test_what_is_no_chunk_is_refused(data: bytes, step: int) -> None:
    with pytest.raises(RemoteProtocolError):
        fed(ChunkedBody(), data, step)
