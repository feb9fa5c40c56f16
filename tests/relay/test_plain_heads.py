"""Plain heads: what is accepted means the same to h11; all that is odd is left to it."""

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.http_rules import Origin, check_request, has_body, request_headers, response_headers
from relay.plain_heads import MAX_PLAIN_HEAD, maybe_answer, maybe_request
from relay.routes import Sites

HOST = b"abc.relay.example"
ORIGIN = Origin("192.0.2.9", tls=False, server_name=None)
SITES = Sites("relay.example")
GET = b"GET / HTTP/1.1\r\nHost: " + HOST + b"\r\n"

FIELDS = st.sampled_from(
    [
        b"X-A: 1", b"x-b:2", b"X-C:\t 3 ", b"Cookie: a=b; c", b"Accept:", b"A: \xe9",
        b"Keep-Alive: 5",
        b"Connection: keep-alive", b"connection:Keep-Alive ", b"TE: trailers", b"Forwarded: for=1",
        b"X-Forwarded-For: 1", b"x-forwarded-any: 1", b"X-Real-IP: 1", b"Proxy-Connection: x",
        b"Host: " + HOST, b"Content-Length: 0", b"Content-Length: 5", b"Transfer-Encoding: chunked",
        b"Transfer-Encoding : chunked", b"Content-Length: 5\r\n 6", b" folded", b"\tfolded",
        b"A\r: b",
        b"A: b\rc", b"A: b\nTransfer-Encoding: chunked", b"A: \0", b"A: \x7f", b"A: \x01",
        b"A b: c",
        b": c", b"A", b"Upgrade: h2c", b"Connection: upgrade", b"Connection: host", b"Expect: x",
        b"Transfer-Encoding:\x0bchunked", b"Content-Length: +5", b"Content-Length: 5, 5",
        b"Transfer-Encoding: x", b"Transfer_Encoding: chunked",
        b"Set-Cookie: a=b; Path=/; HttpOnly", b"set-cookie:a=b;\tDOMAIN =relay.example",
        b"Set-Cookie: a=b; domain=abc.relay.example",
    ]
)  # fmt: skip
ENDS = st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r", b"\r\r\n"])
LINES = st.lists(st.tuples(FIELDS, ENDS), max_size=5)


def joined(first: bytes, lines: list[tuple[bytes, bytes]]) -> bytes:
    return first + b"".join(line + end for line, end in lines) + b"\r\n"


def h11_request(data: bytes) -> h11.Request:
    reader = h11.Connection(h11.SERVER)
    reader.receive_data(data)
    found = reader.next_event()
    assert isinstance(found, h11.Request)
    return found


@given(
    st.sampled_from([GET, GET.replace(b"GET", b"DELETE"), GET.replace(b" / ", b" /a?b ")]), LINES
)
def test_a_plain_request_is_the_same_to_h11(first: bytes, lines: list[tuple[bytes, bytes]]) -> None:
    data = joined(first, lines)
    found = maybe_request(data + b"more")
    if found is None:
        return
    judged = h11_request(data)
    check_request(judged, ORIGIN, SITES)
    lengths = [int(value) for name, value in judged.headers if name == b"content-length"]
    assert lengths in ([], [found.length])
    assert found.size == len(data)
    assert has_body(judged) == bool(found.length)
    assert found.method == judged.method
    sent = h11_request(found.forwarded + b"\r\n")
    ours = request_headers(judged, ORIGIN)[:-4]
    assert (sent.method, sent.target) == (judged.method, judged.target)
    assert sorted(sent.headers.raw_items()) == sorted(ours)


@given(LINES, LINES, st.booleans())
def test_the_request_before_changes_nothing(
    one: list[tuple[bytes, bytes]], other: list[tuple[bytes, bytes]], same: bool
) -> None:
    before = maybe_request(joined(GET, one))
    data = joined(GET.replace(b" / ", b" /a "), one if same else other)
    assert maybe_request(data, before) == maybe_request(data)
    connect = maybe_request(data.replace(b"GET", b"CONNECT"), before)
    assert connect is None


@given(
    st.sampled_from([b"200 OK", b"204 No Content", b"304", b"404 \xe9", b"101 X", b"600 X"]),
    LINES,
    st.sampled_from([b"GET", b"HEAD"]),
)
def test_a_plain_answer_is_the_same_to_h11(
    status: bytes, lines: list[tuple[bytes, bytes]], method: bytes
) -> None:
    data = joined(b"HTTP/1.1 " + status + b"\r\n", lines)
    found = maybe_answer(data + b"hello", method)
    if found is None:
        return
    reader = h11.Connection(h11.CLIENT)
    reader.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
    reader.send(h11.EndOfMessage())
    reader.receive_data(data + b"hello")
    judged = reader.next_event()
    assert isinstance(judged, h11.Response)
    assert found.size == len(data)
    lengths = [int(value) for name, value in judged.headers if name == b"content-length"]
    if method == b"HEAD" or judged.status_code in (204, 304):
        assert found.length == 0
    else:
        assert lengths == ([] if found.length is None else [found.length])
    passed = data if found.head is None else found.head
    again = h11.Connection(h11.CLIENT)
    again.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
    again.receive_data(passed)
    told = again.next_event()
    assert isinstance(told, h11.Response)
    assert (told.status_code, told.reason) == (judged.status_code, judged.reason)
    assert told.headers.raw_items() == response_headers(judged, HOST.decode())


@pytest.mark.parametrize(
    "data",
    [
        GET + b"Content-Length: 5, 5\r\n\r\nhello",
        GET + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
        GET + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        GET + b"Content-Length: +5\r\n\r\nhello",
        GET + b"Content-Length:\r\n\r\n",
        GET + b"Transfer-Encoding: chunked\r\n\r\n",
        GET + b"Expect: 100-continue\r\n\r\n",
        GET + b"Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        GET + b"Connection: close\r\n\r\n",
        GET + b"Connection: keep-alive, x\r\n\r\n",
        GET + b"Host: " + HOST + b"\r\n\r\n",
        GET + b" folded\r\n\r\n",
        GET + b"A : b\r\n\r\n",
        GET + b"A: b\n\r\n",
        GET + b"A: b\rc\r\n\r\n",
        GET + b"A: b\r\n",
        b"GET / HTTP/1.0\r\nHost: a\r\n\r\n",
        b"GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
        b"CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a@b\r\n\r\n",
        b"GET /\t HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        GET + b"A: " + b"x" * MAX_PLAIN_HEAD + b"\r\n\r\n",
    ],
)
def test_requests_that_are_not_plain(data: bytes) -> None:
    assert maybe_request(data) is None


@pytest.mark.parametrize(
    "fields",
    [
        b"",
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        b"Content-Length: 5\r\nContent-Length: 5\r\n",
        b"Content-Length: 5\r\nConnection: close\r\n",
        b"Content-Length: 0x5\r\n",
        b"Content-Length: \xb2\r\n",
        b"Content-Length: 5,5\r\n",
        b"Content-Length : 5\r\n",
        b"Content-Length: 5\n",
        b"Content-Length: 9999999999999999\r\n",
        b"Transfer-Encoding: gzip, chunked\r\n",
        b"Content-Length: 5\r\nSet-Cookie: a=b; Domain=relay.example\r\n",
        b"Content-Length: 5\r\nSET-COOKIE:a=b;dOMAIN\t=.relay.example; Path=/\r\n",
    ],
)
def test_answers_that_are_not_plain(fields: bytes) -> None:
    assert maybe_answer(b"HTTP/1.1 200 OK\r\n" + fields + b"\r\nhello", b"GET") is None


def test_plain_ones() -> None:
    asked = maybe_request(
        b"GET /a HTTP/1.1\r\nCookie: a\r\nhost: b:80\r\nConnection: keep-alive\r\n"
        b"X-Forwarded-For: 1\r\n\r\nGET"
    )
    assert asked is not None
    assert asked.forwarded == b"GET /a HTTP/1.1\r\nHost: b:80\r\nCookie: a\r\n"
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"
    answer = maybe_answer(head + b"hello", b"GET")
    assert answer is not None
    assert (answer.size, answer.head, answer.length) == (len(head), None, 5)
    cookies = (
        b"HTTP/1.1 200\r\nSet-Cookie: a=b; Path=/\r\nContent-Length: 5\r\nset-cookie: c\r\n\r\n"
    )
    answer = maybe_answer(cookies + b"hello", b"GET")
    assert answer is not None
    assert (answer.size, answer.head, answer.length) == (len(cookies), None, 5)
    answer = maybe_answer(b"HTTP/1.1 304\r\nKeep-Alive: 5\r\nETag: 1\r\n\r\n", b"GET")
    assert answer is not None
    assert (answer.head, answer.length) == (b"HTTP/1.1 304\r\nETag: 1\r\n\r\n", 0)
    answer = maybe_answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"GET")
    assert answer is not None
    assert answer.length is None
