"""Odd answers of an application, and what two sides do at once."""
# ruff: noqa: E501 - tables are read by the line

from __future__ import annotations

import gzip
from collections.abc import Iterator

from tests.conformance.case import CONTINUE, OK, SWITCH, Answer, Case, Step, Then, answer, message

_CHUNKED = "Transfer-Encoding: chunked"
_GET = message("GET /a HTTP/1.1")
_LONG = "Content-Length: 5"
_STATUSES = (
    "200 OK", "200", "200 ", "200 Very  odd\ttext", "200 \xe9", "201 Created", "202 A", "203 A", "205 Reset Content",
    "206 Partial Content", "299 Odd", "300 Many", "301 Moved", "302 Found", "303 See", "307 T", "308 P", "400 Bad",
    "401 Unauthorized", "403 No", "404 No", "405 No", "410 Gone", "416 Range", "418 Teapot", "421 Misdirected", "429 Many",
    "451 Law", "499 Odd", "500 Error", "502 Bad", "503 Busy", "504 Late", "507 Full", "599 Odd", "600 None", "999 None",
    "099 None", "20 None", "2000 None", "abc None", "+200 None",
)  # fmt: skip
_HEADS = (
    ("version 1.0 with a length", answer("200 OK", _LONG, body=b"hello", version="1.0"), Then.CLOSE),
    ("version 1.0, kept", answer("200 OK", _LONG, "Connection: keep-alive", body=b"hello", version="1.0"), Then.KEEP),
    ("version 1.0 to the end", answer("200 OK", body=b"hello", version="1.0"), Then.CLOSE),
    ("version 1.1 to the end", answer("200 OK", body=b"hello"), Then.CLOSE),
    ("version 1.1 to a reset", answer("200 OK", body=b"hello"), Then.RESET),
    ("version 1.0 with chunks", answer("200 OK", _CHUNKED, body=b"5\r\nhello\r\n0\r\n\r\n", version="1.0"), Then.CLOSE),
    ("version 1.2", answer("200 OK", _LONG, body=b"hello", version="1.2"), Then.CLOSE),
    ("version 2.0", answer("200 OK", _LONG, body=b"hello", version="2.0"), Then.CLOSE),
    ("version 0.9", b"hello", Then.CLOSE),
    ("no HTTP", b"SSH-2.0-OpenSSH_9.2\r\n", Then.CLOSE),
    ("nothing", b"", Then.CLOSE), ("a reset", b"", Then.RESET), ("half a head", b"HTTP/1.1 200 OK\r\nX-App: 1\r\n", Then.CLOSE),
    ("length, connection closes", answer("200 OK", _LONG, "Connection: close", body=b"hello"), Then.CLOSE),
    ("length 0", answer("200 OK", "Content-Length: 0"), Then.KEEP),
    ("too short", answer("200 OK", "Content-Length: 50", body=b"hello"), Then.CLOSE),
    ("too short, reset", answer("200 OK", "Content-Length: 50", body=b"hello"), Then.RESET),
    ("too long", answer("200 OK", _LONG, body=b"hello and more"), Then.KEEP),
    ("two answers", OK + OK, Then.KEEP),
    ("chunks", answer("200 OK", _CHUNKED, body=b"5\r\nhello\r\n0\r\n\r\n"), Then.KEEP),
    ("chunks and a length", answer("200 OK", _CHUNKED, "Content-Length: 3", body=b"5\r\nhello\r\n0\r\n\r\n"), Then.CLOSE),
    ("chunks that end early", answer("200 OK", _CHUNKED, body=b"5\r\nhello\r\n"), Then.CLOSE),
    ("chunks that end in the middle", answer("200 OK", _CHUNKED, body=b"50\r\nhello"), Then.CLOSE),
    ("bad chunks", answer("200 OK", _CHUNKED, body=b"hello\r\n0\r\n\r\n"), Then.CLOSE),
    ("longer chunk than it says", answer("200 OK", _CHUNKED, body=b"4\r\nhello\r\n0\r\n\r\n"), Then.CLOSE),
    ("chunks with extensions", answer("200 OK", _CHUNKED, body=b"5;a=b\r\nhello\r\n0;c\r\n\r\n"), Then.KEEP),
    ("chunks with bare LF", answer("200 OK", _CHUNKED, body=b"5\nhello\n0\n\n"), Then.CLOSE),
    ("chunks with a trailer", answer("200 OK", _CHUNKED, "Trailer: X-Sum", body=b"5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n"), Then.KEEP),
    ("chunks with trailers that frame", answer("200 OK", _CHUNKED, body=b"5\r\nhello\r\n0\r\nContent-Length: 9\r\nSet-Cookie: a=b\r\nX-Sum: 1\r\n\r\n"), Then.KEEP),
    ("chunked twice", answer("200 OK", _CHUNKED, _CHUNKED, body=b"5\r\nhello\r\n0\r\n\r\n"), Then.CLOSE),
    ("gzip, chunked", answer("200 OK", "Transfer-Encoding: gzip, chunked", body=b"5\r\nhello\r\n0\r\n\r\n"), Then.CLOSE),
    ("coding identity", answer("200 OK", "Transfer-Encoding: identity", _LONG, body=b"hello"), Then.CLOSE),
    ("chunked in upper case", answer("200 OK", "Transfer-Encoding: CHUNKED", body=b"5\r\nhello\r\n0\r\n\r\n"), Then.KEEP),
    ("length twice the same", answer("200 OK", _LONG, _LONG, body=b"hello"), Then.KEEP),
    ("two lengths", answer("200 OK", _LONG, "Content-Length: 3", body=b"hello"), Then.CLOSE),
    ("a length that is none", answer("200 OK", "Content-Length: x", body=b"hello"), Then.CLOSE),
    ("a negative length", answer("200 OK", "Content-Length: -5", body=b"hello"), Then.CLOSE),
    ("bare LF", answer("200 OK", _LONG, body=b"hello").replace(b"\r\n", b"\n"), Then.CLOSE),
    ("folded", answer("200 OK", _LONG, "X-A: a\r\n b", body=b"hello"), Then.CLOSE),
    ("a field without a colon", answer("200 OK", _LONG, "X-A", body=b"hello"), Then.CLOSE),
    ("white space before a colon", answer("200 OK", _LONG, "X-A : b", body=b"hello"), Then.CLOSE),
    ("NUL in a field", answer("200 OK", _LONG, "X-A: a\x00b", body=b"hello"), Then.CLOSE),
    ("a control character", answer("200 OK", _LONG, "X-A: a\x01b", body=b"hello"), Then.CLOSE),
    ("bytes above 127", answer("200 OK", _LONG, "X-A: \xe9\xff", body=b"hello"), Then.KEEP),
    ("an empty field", answer("200 OK", _LONG, "X-A:", body=b"hello"), Then.KEEP),
    ("underscore in a name", answer("200 OK", _LONG, "X_A: b", body=b"hello"), Then.KEEP),
    ("many cookies", answer("200 OK", _LONG, *(f"Set-Cookie: c{at}=v{at}; Path=/" for at in range(40)), body=b"hello"), Then.KEEP),
    ("a long head", answer("200 OK", _LONG, *(f"X-{at}: {'a' * 1000}" for at in range(3)), body=b"hello"), Then.KEEP),
    ("a longer head", answer("200 OK", _LONG, *(f"X-{at}: {'a' * 1000}" for at in range(30)), body=b"hello"), Then.KEEP),
    ("too long a head", answer("200 OK", _LONG, *(f"X-{at}: {'a' * 1000}" for at in range(80)), body=b"hello"), Then.CLOSE),
    ("Server and Date", answer("200 OK", _LONG, "X-Date: 1", "Via: 1.1 a", "Age: 5", body=b"hello"), Then.KEEP),
    ("hop-by-hop fields", answer("200 OK", _LONG, "Connection: X-A", "X-A: b", "Keep-Alive: timeout=3", "Proxy-Authenticate: Basic", "Proxy-Connection: x", "TE: x", body=b"hello"), Then.KEEP),
    ("Upgrade without 101", answer("200 OK", _LONG, "Upgrade: h2c", "Connection: Upgrade", body=b"hello"), Then.KEEP),
    ("what tells nginx something", answer("200 OK", _LONG, "X-Accel-Buffering: no", "X-Accel-Expires: 5", body=b"hello"), Then.KEEP),
    ("gzip", answer("200 OK", "Content-Encoding: gzip", f"Content-Length: {len(gzip.compress(b'a' * 500, mtime=0))}", body=gzip.compress(b"a" * 500, mtime=0)), Then.KEEP),
    ("gzip in chunks", answer("200 OK", "Content-Encoding: gzip", _CHUNKED, body=b"%x\r\n%b\r\n0\r\n\r\n" % (len(gzip.compress(b"a" * 500, mtime=0)), gzip.compress(b"a" * 500, mtime=0))), Then.KEEP),
    ("ranges", answer("206 Partial Content", "Content-Range: bytes 0-1/9", "Accept-Ranges: bytes", "Content-Length: 2", body=b"he"), Then.KEEP),
    ("ETag and the rest", answer("200 OK", _LONG, 'ETag: W/"a"', "Last-Modified: x", "Vary: *", "Cache-Control: no-transform", body=b"hello"), Then.KEEP),
    ("redirect to itself", answer("302 Found", "Location: http://127.0.0.1:1/x", "Refresh: 0; url=http://127.0.0.1:1/", "Content-Length: 0"), Then.KEEP),
    ("events", answer("200 OK", "Content-Type: text/event-stream", _CHUNKED, body=b"8\r\ndata: 1\n\r\n0\r\n\r\n"), Then.KEEP),
)  # fmt: skip
_EARLY_HINTS = answer("103 Early Hints", "Link: </a.css>; rel=preload")
_PIECES = (
    ("head in pieces", (b"HTTP/1.", b"1 200 OK\r\nX-App: 1\r", b"\nContent-Length: 2\r\n\r", b"\nok")),
    ("body in pieces", (answer("200 OK", "Content-Length: 6"), b"he", b"ll", b"o!")),
    ("chunks in pieces", (answer("200 OK", _CHUNKED), b"5\r", b"\nhel", b"lo\r\n", b"0\r\n", b"\r\n")),
    ("trailer in pieces", (answer("200 OK", _CHUNKED), b"5\r\nhello\r\n0\r\nX-S", b"um: 1\r\n\r\n")),
)  # fmt: skip


def answers() -> Iterator[Case]:
    """All of them."""
    for status in _STATUSES:
        body = b"" if status.startswith("205") else b"hello"
        data = answer(status, f"Content-Length: {len(body)}", body=body)
        yield _case("status", status, Answer(data))
    for name, data, then in _HEADS:
        yield _case("answer", name, Answer(data, then))
    for name, (first, *pieces) in _PIECES:
        yield _case("answer", name, Answer(first, pieces=tuple(pieces)))
    yield from _without_bodies()
    yield from _informational()
    yield from _expecting()
    yield from _early()
    yield from _upgrades()
    yield from _pipelines()


def _case(group: str, name: str, *said: Answer, steps: tuple[bytes | Step, ...] = (_GET,)) -> Case:
    return Case(f"{group}: {name}", steps, said)


def _without_bodies() -> Iterator[Case]:
    head = (message("HEAD /a HTTP/1.1"),)
    for name, data in (
        ("with a length", answer("200 OK", "Content-Length: 500")),
        ("with chunks", answer("200 OK", _CHUNKED)),
        ("with neither", answer("200 OK")),
        ("of 404", answer("404 No", "Content-Length: 9")),
        ("of 204", answer("204 No Content")),
        ("of 304", answer("304 Not Modified", "ETag: x")),
    ):
        yield Case(f"HEAD: {name}", head, (Answer(data),), head=True)
    body = answer("200 OK", _LONG, body=b"hello")
    yield Case("HEAD: with a body all the same", head, (Answer(body, Then.CLOSE),), head=True)
    one_zero = message("HEAD /a HTTP/1.0")
    yield Case(
        "HEAD: of a visitor with 1.0", (one_zero,), (Answer(answer("200 OK", _LONG)),), head=True
    )
    for status in ("204 No Content", "304 Not Modified"):
        for name, data, then in (
            ("plain", answer(status), Then.KEEP),
            ("with length 0", answer(status, "Content-Length: 0"), Then.KEEP),
            ("with a length", answer(status, _LONG), Then.KEEP),
            ("with chunks", answer(status, _CHUNKED), Then.KEEP),
            ("with a body", answer(status, _LONG, body=b"hello"), Then.CLOSE),
            (
                "with a body in chunks",
                answer(status, _CHUNKED, body=b"5\r\nhello\r\n0\r\n\r\n"),
                Then.CLOSE,
            ),
        ):
            yield _case("no body", f"{status[:3]} {name}", Answer(data, then))
    yield _case(
        "no body", "205 with a body", Answer(answer("205 Reset", _LONG, body=b"hello"), Then.CLOSE)
    )


def _informational() -> Iterator[Case]:
    for name, data in (
        ("100 unasked", CONTINUE), ("102", answer("102 Processing")), ("103", _EARLY_HINTS), ("103 twice", _EARLY_HINTS * 2),
        ("103 and 102", _EARLY_HINTS + answer("102 Processing")), ("199", answer("199 Odd")), ("20 of them", _EARLY_HINTS * 20),
        ("101 unasked", SWITCH), ("103 with a length", answer("103 Early Hints", _LONG)),
    ):  # fmt: skip
        yield _case("1xx", name, Answer(data + OK))
    old = message("GET /a HTTP/1.0")
    yield _case("1xx", "103 to a visitor with 1.0", Answer(_EARLY_HINTS + OK), steps=(old,))
    yield _case("1xx", "103, a moment before the answer", Answer(_EARLY_HINTS, pieces=(OK,)))
    yield _case("1xx", "103 and no answer", Answer(_EARLY_HINTS, Then.CLOSE))


def _expecting() -> Iterator[Case]:
    head = message("POST /e HTTP/1.1", "Expect: 100-continue", _LONG)
    chunked = message("POST /e HTTP/1.1", "Expect: 100-continue", _CHUNKED)
    no = answer("413 Too Large", "Content-Length: 2", body=b"no")
    yield _case(
        "expect", "100, then the body", Answer(asks=True), steps=(head, Step.HEAD, b"hello")
    )
    yield _case(
        "expect",
        "100, then chunks",
        Answer(asks=True),
        steps=(chunked, Step.HEAD, b"5\r\nhello\r\n0\r\n\r\n"),
    )
    yield _case("expect", "never 100", Answer(), steps=(head, Step.PAUSE, b"hello"))
    yield _case("expect", "not waited for", Answer(asks=True), steps=(head + b"hello",))
    yield Case(
        "expect: refused, body not sent",
        (head,),
        (Answer(no, Then.CLOSE, early=True),),
        probes=False,
    )
    yield Case("expect: refused, body sent", (head, Step.HEAD, b"hello"), (Answer(no, early=True),))
    yield _case(
        "expect",
        "another expectation",
        Answer(),
        steps=(message("POST /e HTTP/1.1", "Expect: x", _LONG, body=b"hello"),),
    )
    yield _case(
        "expect",
        "without a body",
        Answer(asks=True),
        steps=(message("GET /e HTTP/1.1", "Expect: 100-continue"),),
    )
    yield _case(
        "expect",
        "in upper case",
        Answer(asks=True),
        steps=(message("POST /e HTTP/1.1", "Expect: 100-CONTINUE", _LONG), Step.HEAD, b"hello"),
    )
    yield _case(
        "expect",
        "with version 1.0",
        Answer(),
        steps=(message("POST /e HTTP/1.0", "Expect: 100-continue", _LONG, body=b"hello"),),
    )


def _early() -> Iterator[Case]:
    head, chunk = message("POST /u HTTP/1.1", "Content-Length: 1000000"), b"a" * 1000
    no = answer("413 Too Large", "Content-Length: 2", body=b"no")
    yield Case(
        "early: 413 and a close",
        (head + chunk,),
        (Answer(no, Then.CLOSE, early=True),),
        probes=False,
    )
    yield Case(
        "early: 413 and a reset",
        (head + chunk,),
        (Answer(no, Then.RESET, early=True),),
        probes=False,
    )
    yield Case("early: 413, kept open", (head + chunk,), (Answer(no, early=True),), probes=False)
    yield Case(
        "early: 413 in the middle of a large upload",
        (head + chunk, b"a" * 700_000),
        (Answer(no, Then.CLOSE, early=True),),
        probes=False,
    )
    yield Case(
        "early: 413 with Connection: close",
        (head + chunk,),
        (Answer(no.replace(b"X-App", b"Connection: close\r\nX-App"), Then.CLOSE, early=True),),
        probes=False,
    )
    yield Case(
        "early: 200, and the upload goes on",
        (head, Step.HEAD, b"a" * 1_000_000),
        (Answer(early=True),),
    )
    yield Case("early: the visitor ends in the middle", (head + chunk, Step.FIN), probes=False)
    yield Case("early: the visitor ends in a head", (_GET[:20], Step.FIN), probes=False)
    yield Case(
        "early: nothing comes after half a chunk",
        (message("POST /u HTTP/1.1", _CHUNKED, body=b"5\r\nhe"), Step.FIN),
        probes=False,
    )


def _upgrades() -> Iterator[Case]:
    ask = message("GET /w HTTP/1.1", "Connection: Upgrade", "Upgrade: echo")
    two = message("GET /w HTTP/1.1", "Connection: keep-alive, Upgrade", "Upgrade: echo, h2c")
    web = message(
        "GET /w HTTP/1.1",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Key: eA==",
        "Sec-WebSocket-Version: 13",
    )
    echo = Answer(SWITCH, Then.ECHO)
    for name, steps in (
        ("101", (ask, Step.PAUSE, b"hello", Step.FIN)), ("101, bytes at once", (ask + b"hello", Step.FIN)),
        ("101, two protocols", (two, Step.PAUSE, b"hello", Step.FIN)), ("101, WebSocket", (web, Step.PAUSE, b"hello", Step.FIN)),
    ):  # fmt: skip
        yield Case(f"upgrade: {name}", steps, (echo,), probes=False)
    yield _case("upgrade", "refused", Answer(), steps=(ask,))
    yield _case(
        "upgrade",
        "refused with 426",
        Answer(answer("426 Upgrade", "Upgrade: echo", "Content-Length: 0")),
        steps=(ask,),
    )
    body = message("POST /w HTTP/1.1", "Connection: Upgrade", "Upgrade: echo", _LONG, body=b"hello")
    yield _case("upgrade", "with a body, refused", Answer(), steps=(body,))
    yield Case("upgrade: with a body", (body, Step.PAUSE, b"more", Step.FIN), (echo,), probes=False)
    old = message("GET /w HTTP/1.0", "Connection: Upgrade", "Upgrade: echo")
    yield _case("upgrade", "with version 1.0, refused", Answer(), steps=(old,))


def _pipelines() -> Iterator[Case]:
    post = message("POST /p HTTP/1.1", _LONG, body=b"hello")
    chunked = message("POST /p HTTP/1.1", _CHUNKED, body=b"5\r\nhello\r\n0\r\n\r\n")
    close = message("GET /p HTTP/1.1", "Connection: close")
    for name, steps, count in (
        ("three", (_GET * 3,), 3), ("a body between", (_GET + post + _GET,), 3), ("chunks between", (_GET + chunked + _GET,), 3),
        ("cut in two", (_GET + _GET[:10], Step.PAUSE, _GET[10:]), 2), ("50", (_GET * 50,), 50), ("close in the middle", (_GET + close + _GET,), 2),
        ("bad behind good", (_GET + b"hello\r\n\r\n",), 2), ("one, then the visitor ends", (_GET, Step.FIN), 1), ("three, then the visitor ends", (_GET * 3, Step.FIN), 3),
        ("an empty line between", (_GET + b"\r\n" + _GET,), 2), ("a request in a body", (message("POST /p HTTP/1.1", "Content-Length: 27", body=b"GET /p HTTP/1.1\r\nHost: b\r\n\r\n"[:27]),), 1),
    ):  # fmt: skip
        yield Case(f"pipeline: {name}", steps, count=count, probes=Step.FIN not in steps)
    cut = answer("200 OK", body=b"hello")
    yield Case(
        "pipeline: an answer to the connection's end between",
        (_GET * 2,),
        (Answer(cut, Then.CLOSE), Answer()),
        count=2,
    )
