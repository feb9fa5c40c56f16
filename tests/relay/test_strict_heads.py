"""Heads that pass are one request to every reader; the others are refused."""

from __future__ import annotations

import h11
import pytest

from relay.http_rules import HttpError
from relay.strict_heads import MAX_REQUEST_HEAD, check_head, cut_empty_lines, maybe_head

GET = b"GET /a HTTP/1.1\r\nHost: a\r\n"


@pytest.mark.parametrize(
    "head",
    [
        GET + b"\r\n",
        GET.replace(b"\r\n", b"\n") + b"\n",
        GET + b"X_!#$: \t a\xe9 b \t\r\nX:\r\n\r\n",
        b"A!b GET:80 HTTP/1.9\r\nHost: a\r\nContent-Length: 005\r\n\r\n",
    ],
)
def test_what_passes_is_a_request_to_h11(head: bytes) -> None:
    check_head(head)
    http = h11.Connection(h11.SERVER)
    http.receive_data(head)
    assert isinstance(http.next_event(), h11.Request)


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        (b"X: a\r\n b\r\n", 400),
        (b"X: a\r\n\tb\r\n", 400),
        (b" X: a\r\n", 400),
        (b"X : a\r\n", 400),
        (b"X\r\n", 400),
        (b": a\r\n", 400),
        (b"X(: a\r\n", 400),
        (b"X: a\x00\r\n", 400),
        (b"X: a\x01\r\n", 400),
        (b"X: a\x7f\r\n", 400),
        (b"X: a\rY: b\r\n", 400),
        (b"Content-Length: 5\r\nContent-Length: 5\r\n", 400),
        (b"Content-Length: 5\ncontent-length: 5\r\n", 400),
        (b"Content-Length: 5, 5\r\n", 400),
        (b"Content-Length: +5\r\n", 400),
        (b"Content-Length:\r\n", 400),
        (b"Content-Length: 9999999999999999\r\n", 400),
    ],
)
def test_what_two_could_read_differently_is_refused(fields: bytes, status: int) -> None:
    with pytest.raises(HttpError) as info:
        check_head(GET + fields + b"\r\n")
    assert info.value.status == status


@pytest.mark.parametrize(
    ("first", "status"),
    [
        (b"GET /a HTTP/2.0", 505),
        (b"GET /a HTTP/0.9", 505),
        (b"GET /a", 400),
        (b"GET  /a HTTP/1.1", 400),
        (b"GET /a\tHTTP/1.1", 400),
        (b"GET /a b HTTP/1.1", 400),
        (b"GET /\xe9 HTTP/1.1", 400),
        (b"GET /a HTTP/1.1 ", 400),
        (b"GET /a HTTP/1.10", 400),
        (b"G(T /a HTTP/1.1", 400),
    ],
)
def test_first_lines(first: bytes, status: int) -> None:
    with pytest.raises(HttpError) as info:
        check_head(first + b"\r\nHost: a\r\n\r\n")
    assert info.value.status == status


def test_where_a_head_ends() -> None:
    whole = GET + b"\r\n"
    for size in range(len(whole)):
        assert maybe_head(whole[:size]) is None
    assert maybe_head(whole + b"body\r\n\r\n") == whole
    assert maybe_head(b"GET / HTTP/1.1\n\r\nrest") == b"GET / HTTP/1.1\n\r\n"
    assert cut_empty_lines(b"\r\n\n\r\n\r") == b"\r"
    assert maybe_head(b"\r") is None
    assert cut_empty_lines(b"\r\n" + whole) == whole


@pytest.mark.parametrize(("data", "status"), [(b" G", 400), (b"\0", 400), (b"a" * 16_385, 431)])
def test_what_never_becomes_a_head(data: bytes, status: int) -> None:
    assert MAX_REQUEST_HEAD == 16_384
    with pytest.raises(HttpError) as info:
        maybe_head(data)
    assert info.value.status == status
