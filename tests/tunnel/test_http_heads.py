from __future__ import annotations

import pytest

from tunnel.errors import RemoteProtocolError
from tunnel.http_bodies import ChunkedBody, EndlessBody, LengthBody
from tunnel.http_heads import MAX_REQUEST_HEAD, maybe_answer, maybe_request

REQUEST = (
    b"POST /a?b=1 HTTP/1.1\r\nHost: x.example\r\nX-Empty:\r\n"
    b"Cookie:  a=b \r\nContent-Length: 3\r\n\r\n"
)


def test_a_request_is_read_and_written_again() -> None:
    found = maybe_request(REQUEST + b"abc")
    assert found is not None
    head, size = found
    assert size == len(REQUEST)
    assert (head.method, head.target, head.path) == (b"POST", b"/a?b=1", b"/a")
    assert head.value(b"cookie") == b"a=b"
    assert head.value(b"x-empty") == b""
    body = head.body()
    assert isinstance(body, LengthBody)
    assert not body.is_whole
    head.set(b"Host", b"other")
    head.set(b"X-New", b"1")
    head.drop(b"COOKIE")
    assert head.serialize() == (
        b"POST /a?b=1 HTTP/1.1\r\nHost: other\r\nX-Empty: \r\nContent-Length: 3\r\nX-New: 1\r\n\r\n"
    )
    assert all(maybe_request(REQUEST[:end]) is None for end in range(len(REQUEST)))


@pytest.mark.parametrize(
    ("head", "method", "kind"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", b"GET", LengthBody),
        (b"HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\n\r\n", b"GET", ChunkedBody),
        (b"HTTP/1.0 200 OK\r\n\r\n", b"GET", EndlessBody),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", b"HEAD", LengthBody),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\n", b"GET", LengthBody),
    ],
)
def test_how_an_answers_body_ends(head: bytes, method: bytes, kind: type) -> None:
    found = maybe_answer(head)
    assert found is not None
    body = found[0].body(method)
    assert type(body) is kind
    assert body.is_whole == (method == b"HEAD" or b"304" in head)


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\nA: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nA : b\r\n\r\n",
        b"GET / HTTP/1.1\r\n folded\r\n\r\n",
        b"GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n",
        b"GET / HTTP/1.1\r\nA: b\nB: c\r\n\r\n",
        b"GET / HTTP/1.1\r\nA: \0\r\n\r\n",
        b"GET  / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/2.0\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 10_000,
        b"x" * MAX_REQUEST_HEAD,
    ],
)
def test_what_is_not_plain_is_refused(head: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        maybe_request(head)


@pytest.mark.parametrize(
    "fields",
    [
        b"Content-Length: 1\r\nTransfer-Encoding: chunked",
        b"Content-Length: 1\r\nContent-Length: 2",
        b"Content-Length: +1",
        b"Content-Length: 1, 1",
        b"Transfer-Encoding: gzip, chunked",
        b"Transfer-Encoding:",
        b"Transfer-Encoding: ,",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    ],
)
def test_ambiguous_lengths_are_refused(fields: bytes) -> None:
    found = maybe_request(b"POST / HTTP/1.1\r\nHost: a\r\n" + fields + b"\r\n\r\n")
    assert found is not None
    with pytest.raises(RemoteProtocolError):
        found[0].body()
