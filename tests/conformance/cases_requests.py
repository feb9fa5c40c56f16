"""Odd requests: methods, targets, versions, hosts, fields, and how bodies are framed."""
# ruff: noqa: E501 - tables are read by the line

from __future__ import annotations

from collections.abc import Iterator

from tests.conformance.case import Case, message

_CHUNKED = "Transfer-Encoding: chunked"
_METHODS = (
    "GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "PROPFIND", "MKCOL", "LOCK",
    "REPORT", "QUERY", "FROB", "M-SEARCH", "G" * 30, "get", "Get", "A.B", "A!#$%&'*+-.^_`|~9",
    "GE(T", "G\x00T", "G\xe9T", "CONNECT", "PRI",
)  # fmt: skip
_TARGETS = (
    "/", "/?", "/??", "/?a=b&c=d", "/a//b", "//a", "//a/b", "/./a/../b", "/../a", "/a/%2e%2e/b",
    "/%2F", "/%", "/%zz", "/%00", "/a%20b", "/a+b", "/a%0d%0ab", "/%C3%A9", "/\xc3\xa9", "/\xff",
    "/a;b=c", "/a|b", "/a\\b", "/{a}", "/<a>", '/"a"', "/^`", "/a:80", "/@a", "/a?b#c", "/a#b",
    "/" + "a" * 2_000, "/" + "a" * 7_000, "/" + "a" * 9_000, "/" + "a" * 17_000, "*", "a",
    "?a", "http://@HOST@/", "http://@HOST@/a?b", "http://@HOST@", "http://@HOST@?a",
    "HTTP://@HOST@/a", "https://@HOST@/a", "http://other.example/a", "http://u:p@@HOST@/a",
    "http:///a", "http:/a", "ftp://@HOST@/a", "ws://@HOST@/a", "a.example:443", "/\x01", "/\x7f",
    "/\x00", "/\t", "/a b", "",
)  # fmt: skip
_VERSIONS = (
    "HTTP/1.1", "HTTP/1.0", "HTTP/1.2", "HTTP/1.9", "HTTP/0.9", "HTTP/2.0", "HTTP/3", "HTTP/1",
    "HTTP/1.10", "HTTP/01.1", "HTTP/1.1 ", " HTTP/1.1", "http/1.1", "HTTPS/1.1", "HTTP/1,1",
    "HTTP /1.1", "HTTP/11", "FTP/1.1", "HTTP/1.1\t",
)  # fmt: skip
_HOSTS = (
    ("upper case", b"Host: @HOST@".upper()), ("a dot behind the port", b"Host: @HOST@."),
    ("white space around", b"Host: \t @HOST@ \t"), ("no white space", b"Host:@HOST@"),
    ("empty", b"Host:"), ("none", b"X-None: 1"), ("white space alone", b"Host: \t"),
    ("two", b"Host: @HOST@\r\nHost: @HOST@"), ("two that differ", b"Host: @HOST@\r\nHost: b.example"),
    ("a list", b"Host: @HOST@, b.example"), ("a path", b"Host: @HOST@/a"),
    ("a user", b"Host: u@@HOST@"), ("a scheme", b"Host: http://@HOST@"),
    ("white space inside", b"Host: @HOST@ b"), ("a port that is none", b"Host: @HOST@x"),
    ("a port too many", b"Host: @HOST@:80"), ("a control character", b"Host: @HOST@\x01"),
    ("a byte above 127", b"Host: @HOST@\xe9"), ("a question mark", b"Host: @HOST@?a"),
    ("folded", b"Host:\r\n @HOST@"), ("another's", b"Host: other.example"),
    ("an address", b"Host: 127.0.0.1"), ("IPv6", b"Host: [::1]:80"), ("IPv6 unclosed", b"Host: [::1"),
)  # fmt: skip
_FIELDS = (
    ("empty value", "X-A:"), ("white space around", "X-A: \t b \t"), ("tabs inside", "X-A: a\tb"),
    ("bytes above 127", "X-A: \xe9\xff"), ("NUL", "X-A: a\x00b"), ("control character", "X-A: a\x01b"),
    ("DEL", "X-A: a\x7fb"), ("bare CR", "X-A: a\rb"), ("bare CR at the end", "X-A: a\r"),
    ("bare LF", "X-A: a\nX-B: b"), ("white space before the colon", "X-A : b"),
    ("tab before the colon", "X-A\t: b"), ("white space in the name", "X A: b"),
    ("no colon", "X-A"), ("colon alone", ": b"), ("NUL in the name", "X\x00A: b"),
    ("bytes above 127 in the name", "X-\xe9: b"), ("brackets in the name", "X(A): b"),
    ("underscore in the name", "X_A: b"), ("dot in the name", "X.A: b"),
    ("odd token", "!#$%&'*+-.^_`|~: b"), ("folded", "X-A: a\r\n b"), ("folded with a tab", "X-A: a\r\n\tb"),
    ("folded to nothing", "X-A: a\r\n \r\nX-B: b"), ("upper case", "X-UPPER: b"),
    ("twice", "X-A: a\r\nX-A: b"), ("long value", "X-A: " + "a" * 7_000),
    ("too long value", "X-A: " + "a" * 9_000), ("long name", "X-" + "a" * 300 + ": b"),
    ("far too long", "X-A: " + "a" * 70_000),
    ("100 of them", "\r\n".join(f"X-{at}: b" for at in range(100))),
    ("1,000 of them", "\r\n".join(f"X-{at}: b" for at in range(1_000))),
    ("16 KiB of them", "\r\n".join(f"X-{at}: {'b' * 500}" for at in range(30))),
    ("many cookies", "\r\n".join(f"Cookie: c{at}=v{at}" for at in range(30))),
    ("cookies in one", "Cookie: " + "; ".join(f"c{at}=v{at}" for at in range(60))),
    ("odd cookies", 'Cookie: a="b; c"; =d; e; f=\xe9; ;g=h'),
    ("Range", "Range: bytes=0-1"), ("odd Range", "Range: bytes=5-1,x"), ("If-Range", "If-Range: \"a\""),
    ("Accept-Encoding", "Accept-Encoding: gzip, br;q=0.5, identity;q=0"),
    ("Authorization", "Authorization: Basic dTpw"), ("Date", "Date: x"), ("Via", "Via: 1.0 a, 1.1 b"),
    ("Max-Forwards", "Max-Forwards: 0"), ("Upgrade-Insecure-Requests", "Upgrade-Insecure-Requests: 1"),
    ("Content-Type without a body", "Content-Type: text/plain"), ("Server's own", "X-Accel-Redirect: /x"),
)  # fmt: skip
_HOPS = (
    "Connection: close", "Connection: Close", "Connection: keep-alive", "Connection: close, keep-alive",
    "Connection: X-A\r\nX-A: b", "Connection: X-A, X-B\r\nX-A: a\r\nX-B: b",
    "Connection: close\r\nConnection: X-A\r\nX-A: b", "Connection:", "Connection: ,,", "Connection: \xe9",
    "Connection: Host", "Connection: Content-Length", "Connection: X-Forwarded-For", "Connection: Cookie\r\nCookie: a=b",
    "Keep-Alive: timeout=5", "Proxy-Connection: keep-alive", "Proxy-Connection: close",
    "Proxy-Authorization: Basic dTpw", "TE: trailers", "TE: trailers, deflate;q=0.5",
    "Connection: TE\r\nTE: trailers", "Trailer: X-A", "Upgrade: echo", "Upgrade: h2c",
    "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA",
    "X-Forwarded-For: 6.6.6.6", "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 7.7.7.7",
    "X-Forwarded-Proto: gopher", "X-Forwarded-Host: evil.example", "X-Forwarded-Port: 1",
    "X-Forwarded-Server: evil.example", "X-Forwarded-Prefix: /x", "Forwarded: for=6.6.6.6", "X-Real-IP: 6.6.6.6",
    "X_Forwarded_For: 6.6.6.6", "X-Forwarded_For: 6.6.6.6",
)  # fmt: skip
_LENGTHS = (
    ("once", "Content-Length: 5"), ("twice the same", "Content-Length: 5\r\nContent-Length: 5"),
    ("twice", "Content-Length: 5\r\nContent-Length: 6"), ("a list", "Content-Length: 5, 5"),
    ("a list of two", "Content-Length: 5, 6"), ("plus", "Content-Length: +5"), ("minus", "Content-Length: -5"),
    ("hexadecimal", "Content-Length: 0x5"), ("zeros", "Content-Length: 0005"), ("many zeros", "Content-Length: " + "0" * 40 + "5"),
    ("a point", "Content-Length: 5.0"), ("an exponent", "Content-Length: 5e0"), ("empty", "Content-Length:"),
    ("white space inside", "Content-Length: 5 5"), ("a unit", "Content-Length: 5b"), ("too large", "Content-Length: " + "9" * 25),
    ("above 2^63", "Content-Length: 9223372036854775808"), ("above 2^64", "Content-Length: 18446744073709551621"),
    ("digits of another script", "Content-Length: \xd9\xa5"), ("underscore", "Content-Length: 0_5"), ("quoted", 'Content-Length: "5"'),
    ("bare CR", "Content-Length: 5\r"), ("NUL", "Content-Length: 5\x00"), ("vertical tab", "Content-Length: \x0b5"),
    ("white space before the colon", "Content-Length : 5"), ("folded", "Content-Length:\r\n 5"),
    ("with chunked", "Content-Length: 5\r\n" + _CHUNKED), ("behind chunked", _CHUNKED + "\r\nContent-Length: 5"),
    ("with identity", "Content-Length: 5\r\nTransfer-Encoding: identity"),
    ("with an underscore in its name", "Content_Length: 5"),
)  # fmt: skip
_CODINGS = (
    ("chunked", "chunked"), ("upper case", "CHUNKED"), ("mixed case", "Chunked"), ("white space around", " \t chunked \t"),
    ("twice in a list", "chunked, chunked"), ("gzip", "gzip"), ("gzip, chunked", "gzip, chunked"), ("chunked, gzip", "chunked, gzip"),
    ("chunked, identity", "chunked, identity"), ("identity", "identity"), ("identity, chunked", "identity, chunked"), ("empty", ""),
    ("x", "x"), ("xchunked", "xchunked"), ("chunkedx", "chunkedx"), ("quoted", '"chunked"'), ("a parameter", "chunked;q=1"),
    ("comma before", ", chunked"), ("comma behind", "chunked,"), ("vertical tab", "\x0bchunked"), ("form feed", "\x0cchunked"), ("NUL", "chunked\x00"),
    ("bare CR", "chunked\r"), ("folded", "\r\n chunked"), ("a byte above 127", "\xa0chunked"), ("two words", "chunked chunked"),
)  # fmt: skip
_CHUNKS = (
    ("one", b"5\r\nhello\r\n0\r\n\r\n"), ("two", b"3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"), ("none", b"0\r\n\r\n"), ("upper case", b"A\r\n0123456789\r\n0\r\n\r\n"),
    ("zeros before", b"0005\r\nhello\r\n000\r\n\r\n"), ("many zeros before", b"0" * 30 + b"5\r\nhello\r\n0\r\n\r\n"), ("extension", b"5;a=b\r\nhello\r\n0\r\n\r\n"),
    ("quoted extension", b'5;a="b;c"\r\nhello\r\n0\r\n\r\n'), ("extension without a value", b"5;a\r\nhello\r\n0;b\r\n\r\n"),
    ("white space before an extension", b"5 ;a=b\r\nhello\r\n0\r\n\r\n"), ("white space behind the size", b"5 \r\nhello\r\n0\r\n\r\n"), ("tab behind the size", b"5\t\r\nhello\r\n0\r\n\r\n"),
    ("white space before the size", b" 5\r\nhello\r\n0\r\n\r\n"), ("long extension", b"5;" + b"a" * 5_000 + b"\r\nhello\r\n0\r\n\r\n"), ("bare LF in an extension", b"5;a\nb\r\nhello\r\n0\r\n\r\n"),
    ("bare CR in an extension", b"5;a\rb\r\nhello\r\n0\r\n\r\n"), ("bare LF behind the size", b"5\nhello\r\n0\r\n\r\n"), ("bare LF behind the data", b"5\r\nhello\n0\r\n\r\n"), ("bare CR behind the data", b"5\r\nhello\r0\r\n\r\n"),
    ("nothing behind the data", b"5\r\nhello0\r\n\r\n"), ("other bytes behind the data", b"5\r\nhelloXX0\r\n\r\n"), ("bare LF at the end", b"5\r\nhello\r\n0\n\n"), ("longer than it says", b"4\r\nhello\r\n0\r\n\r\n"),
    ("0x", b"0x5\r\nhello\r\n0\r\n\r\n"), ("plus", b"+5\r\nhello\r\n0\r\n\r\n"), ("minus", b"-5\r\nhello\r\n0\r\n\r\n"), ("underscore", b"0_5\r\nhello\r\n0\r\n\r\n"), ("empty size", b"\r\nhello\r\n0\r\n\r\n"),
    ("no size", b";a\r\nhello\r\n0\r\n\r\n"), ("not hexadecimal", b"g\r\nhello\r\n0\r\n\r\n"), ("size above 2^64", b"10000000000000005\r\nhello\r\n0\r\n\r\n"), ("size of 2^63", b"8000000000000000\r\nhello\r\n0\r\n\r\n"),
    ("NUL in the size", b"5\x00\r\nhello\r\n0\r\n\r\n"), ("a trailer", b"5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n"), ("two trailers", b"5\r\nhello\r\n0\r\nX-Sum: 1\r\nX-More: 2\r\n\r\n"),
    ("trailers that frame", b"5\r\nhello\r\n0\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\nX-Sum: 1\r\n\r\n"), ("trailers that route", b"5\r\nhello\r\n0\r\nHost: evil\r\nX-Forwarded-For: 6.6.6.6\r\nCookie: a=b\r\nAuthorization: x\r\nX-Sum: 1\r\n\r\n"),
    ("a trailer that is no field", b"5\r\nhello\r\n0\r\nX-Sum\r\n\r\n"), ("a folded trailer", b"5\r\nhello\r\n0\r\nX-Sum: 1\r\n 2\r\n\r\n"), ("a trailer with a space in its name", b"5\r\nhello\r\n0\r\nX Sum: 1\r\n\r\n"),
    ("many trailers", b"5\r\nhello\r\n0\r\n" + b"".join(b"X-%d: a\r\n" % at for at in range(100)) + b"\r\n"), ("a long trailer", b"5\r\nhello\r\n0\r\nX-Sum: " + b"a" * 40_000 + b"\r\n\r\n"),
)  # fmt: skip


def requests() -> Iterator[Case]:
    """All of them."""
    for method in _METHODS:
        yield _one("method", method, message(f"{method} /m HTTP/1.1"))
    for target in _TARGETS:
        yield _one("target", target, message(f"GET {target} HTTP/1.1"))
    yield _one("target", "* with OPTIONS", message("OPTIONS * HTTP/1.1"))
    yield _one(
        "target",
        "absolute form and an empty Host",
        message("GET http://@HOST@/ HTTP/1.1", "Host:", host=None),
    )
    for version in _VERSIONS:
        yield _one("version", version, message(f"GET /v {version}"))
    yield _one("version", "none", b"GET /v\r\n\r\n")
    yield _one("version", "1.0 that is kept", message("GET /v HTTP/1.0", "Connection: keep-alive"))
    yield _one("version", "1.0 without a Host", message("GET /v HTTP/1.0", host=None))
    yield _one(
        "version",
        "1.0 with chunks",
        message("POST /v HTTP/1.0", _CHUNKED, body=b"5\r\nhello\r\n0\r\n\r\n"),
    )
    yield _one(
        "version",
        "1.0 with a length",
        message("POST /v HTTP/1.0", "Content-Length: 5", body=b"hello"),
    )
    for name, field in _HOSTS:
        yield _one("host", name, message("GET /h HTTP/1.1", field, host=None))
    for name, text in _FIELDS:
        yield _one("field", name, message("GET /f HTTP/1.1", text))
    for text in _HOPS:
        yield _one("hop", text.replace("\r\n", " + "), message("GET /hop HTTP/1.1", text))
    yield from _lines()
    for name, text in _LENGTHS:
        yield _one("length", name, message("POST /l HTTP/1.1", text, body=b"hello"))
    yield _one("length", "none, POST", message("POST /l HTTP/1.1"))
    yield _one("length", "0, POST", message("POST /l HTTP/1.1", "Content-Length: 0"))
    yield _one("length", "0, GET", message("GET /l HTTP/1.1", "Content-Length: 0"))
    for method in ("GET", "HEAD", "DELETE", "OPTIONS", "TRACE"):
        head = method == "HEAD"
        yield _one(
            "length",
            f"body of {method}",
            message(f"{method} /l HTTP/1.1", "Content-Length: 5", body=b"hello"),
            head=head,
        )
    for name, text in _CODINGS:
        body = b"5\r\nhello\r\n0\r\n\r\n"
        yield _one(
            "coding", name, message("POST /c HTTP/1.1", f"Transfer-Encoding:{text}", body=body)
        )
    yield _one(
        "coding", "two fields", message("POST /c HTTP/1.1", _CHUNKED, _CHUNKED, body=b"0\r\n\r\n")
    )
    yield _one(
        "coding",
        "two fields that differ",
        message("POST /c HTTP/1.1", _CHUNKED, "Transfer-Encoding: x", body=b"0\r\n\r\n"),
    )
    yield _one(
        "coding",
        "white space before the colon",
        message("POST /c HTTP/1.1", "Transfer-Encoding : chunked", body=b"0\r\n\r\n"),
    )
    yield _one(
        "coding", "of GET", message("GET /c HTTP/1.1", _CHUNKED, body=b"5\r\nhello\r\n0\r\n\r\n")
    )
    for name, data in _CHUNKS:
        yield _one("chunks", name, message("POST /c HTTP/1.1", _CHUNKED, body=data))


def _lines() -> Iterator[Case]:
    get = message("GET /x HTTP/1.1")
    yield _one("line", "an empty one before", b"\r\n" + get)
    yield _one("line", "three empty ones before", b"\r\n" * 3 + get)
    yield _one("line", "a bare LF before", b"\n" + get)
    yield _one("line", "white space before", b" " + get)
    yield _one("line", "NUL before", b"\0" + get)
    yield _one("line", "bare LF everywhere", get.replace(b"\r\n", b"\n"))
    yield _one("line", "bare LF in the first", get.replace(b"\r\n", b"\n", 1))
    yield _one("line", "bare LF at the end", get[:-2] + b"\n")
    yield _one("line", "bare CR everywhere", get.replace(b"\r\n", b"\r"))
    yield _one("line", "CR CR LF", get.replace(b"\r\n", b"\r\r\n"))
    yield _one("line", "two spaces", get.replace(b" ", b"  ", 2))
    yield _one("line", "a tab", get.replace(b" ", b"\t", 1))
    yield _one("line", "white space behind the first", get.replace(b"\r\n", b"\r\n ", 1))
    yield _one("line", "garbage", b"\x80\x81\x82\r\n\r\n")
    yield _one("line", "a word", b"hello\r\n\r\n")
    yield _one("line", "an SSH client", b"SSH-2.0-OpenSSH_9.2\r\n\r\n")


def _one(group: str, name: str, data: bytes, *, head: bool = False) -> Case:
    shown = name if len(name) < 70 else f"{name[:40]}... ({len(name):,})"
    return Case(f"{group}: {shown or '(nothing)'}", (data,), head=head)
