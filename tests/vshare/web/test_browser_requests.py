"""What of a browser's request goes on to the machine, where the share itself ends its TLS."""

from __future__ import annotations

import pytest

from tunnel.http_heads import RequestHead, maybe_request
from vshare.web.browser_requests import BadRequestError, Browser, plain_request

HOST = "frosty-weasel-0857.relay.example"
ADA = Browser(HOST, "203.0.113.7")


def head_of(*fields: str, first: str = "GET /a?b HTTP/1.1", host: str = HOST) -> RequestHead:
    lines = "".join(f"{line}\r\n" for line in (first, f"Host: {host}", *fields))
    found = maybe_request(lines.encode() + b"\r\n")
    assert found is not None
    return found[0]


def refused(head: RequestHead) -> int:
    with pytest.raises(BadRequestError) as caught:
        plain_request(head, ADA)
    return caught.value.page.status


@pytest.mark.parametrize(
    "lie",
    [
        "X-Forwarded-For: 10.0.0.1",
        "x-forwarded-for:",
        "X_Forwarded_For: 10.0.0.1",
        "X-Real-IP: 10.0.0.1",
        "X_Real-Ip: 10.0.0.1",
        "Forwarded: for=10.0.0.1",
        "X-Forwarded-Proto: http",
        "X-Forwarded-Host: elsewhere",
        "X-Forwarded-Anything: 1",
    ],
)
def test_where_it_comes_from_is_what_the_relay_says(lie: str) -> None:
    for fields in ([lie], [lie, lie], [lie, f"Connection: {lie.partition(':')[0]}"]):
        plain = plain_request(head_of(*fields, host=f"{HOST}:8443"), ADA)
        said = [(name.lower(), value) for name, value in plain.fields]
        assert said == [
            (b"host", f"{HOST}:8443".encode()),
            (b"x-forwarded-for", b"203.0.113.7"),
            (b"x-forwarded-proto", b"https"),
            (b"x-forwarded-host", f"{HOST}:8443".encode()),
            (b"forwarded", f'for=203.0.113.7;host="{HOST}:8443";proto=https'.encode()),
        ]


def test_an_address_of_ipv6() -> None:
    plain = plain_request(head_of(), Browser(HOST, "2001:db8::7"))
    assert plain.value(b"x-forwarded-for") == b"2001:db8::7"
    assert (plain.value(b"forwarded") or b"").startswith(b'for="[2001:db8::7]";')


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("elsewhere.relay.example", 421),
        (f"x{HOST}", 421),
        (f"{HOST}.evil.example", 421),
        ("[::1]", 400),
        (f"{HOST}, elsewhere", 400),
        (f"user@{HOST}", 400),
        ("", 400),
    ],
)
def test_another_host(host: str, status: int) -> None:
    assert refused(head_of(host=host)) == status


@pytest.mark.parametrize("host", [HOST.upper(), f"{HOST}.", f"{HOST}:443", f"{HOST}:"])
def test_the_same_host(host: str) -> None:
    assert plain_request(head_of(host=host), ADA).target == b"/a?b"


@pytest.mark.parametrize(
    ("first", "target"),
    [
        (f"GET https://{HOST}/x?y HTTP/1.1", b"/x?y"),
        (f"GET HTTP://{HOST.upper()} HTTP/1.1", b"/"),
        (f"GET https://{HOST}?y HTTP/1.1", b"/?y"),
        ("OPTIONS * HTTP/1.1", b"*"),
        ("GET //elsewhere/x HTTP/1.1", b"//elsewhere/x"),
    ],
)
def test_targets(first: str, target: bytes) -> None:
    assert plain_request(head_of(first=first), ADA).target == target


@pytest.mark.parametrize(
    ("first", "status"),
    [
        ("CONNECT 10.0.0.1:22 HTTP/1.1", 405),
        ("GET https://elsewhere/x HTTP/1.1", 400),
        ("GET ftp://elsewhere/x HTTP/1.1", 400),
        ("GET * HTTP/1.1", 400),
        ("GET x HTTP/1.1", 400),
    ],
)
def test_targets_that_are_none(first: str, status: int) -> None:
    assert refused(head_of(first=first)) == status


def test_what_ends_at_this_hop() -> None:
    fields = ["Connection: keep-alive, X-Mine, Host, Content-Length", "X-Mine: 1", "Keep-Alive: 5"]
    fields += ["TE: trailers", "Proxy-Authorization: Basic x", "Content-Length: 3", "Cookie: a=b"]
    plain = plain_request(head_of(*fields, first="POST / HTTP/1.1"), ADA)
    names = {name.lower() for name, _ in plain.fields}
    assert names == {
        *(b"host", b"content-length", b"cookie", b"forwarded"),
        *(b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host"),
    }
    plain = plain_request(head_of("Connection: close"), ADA)
    assert plain.values(b"connection") == [b"close"]


def test_another_protocol_is_asked_for_but_not_http_2() -> None:
    """Inside it the rules would see nothing."""
    wants = ["Connection: keep-alive, Upgrade", "Upgrade: websocket"]
    plain = plain_request(head_of(*wants), ADA)
    assert plain.tokens(b"connection") == [b"upgrade"]
    assert plain.value(b"upgrade") == b"websocket"
    for fields in (
        ["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk"],
        ["Upgrade: websocket"],
    ):
        plain = plain_request(head_of(*fields), ADA)
        assert not plain.values(b"connection") + plain.values(b"upgrade")
        assert not plain.values(b"http2-settings")
