"""What the gateway checks and changes, message by message."""

import contextlib
from http import HTTPStatus

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.http_rules import (
    HttpError,
    Origin,
    check_request,
    forwarded_target,
    has_body,
    host_text,
    is_upgrade,
    request_headers,
    response_headers,
)
from relay.routes import SOLE, Site, Sites
from tunnel.names import ShareName

SITES = Sites("relay.example", "192.0.2.1")
HOST = "abc.relay.example"
PLAIN = Origin("192.0.2.9", tls=False, server_name=None)
TLS = Origin("2001:db8::9", tls=True, server_name=HOST)


def request(*fields: str, method: str = "GET", target: str = "/", host: str = HOST) -> h11.Request:
    headers = [("Host", host)] if host else []
    for field in fields:
        name, _, value = field.partition(": ")
        headers.append((name, value))
    return h11.Request(method=method, target=target, headers=headers)


def response(*fields: str, status: int = 200) -> h11.Response:
    pairs = [tuple(field.split(": ", 1)) for field in fields]
    return h11.Response(status_code=status, headers=[(name, value) for name, value in pairs])


def lines(headers: list[tuple[bytes, bytes]]) -> list[str]:
    return [f"{name.decode()}: {value.decode()}" for name, value in headers]


@pytest.mark.parametrize(
    ("host", "origin", "site"),
    [
        (HOST, PLAIN, Site(ShareName("abc"))),
        ("ABC.Relay.Example.:8080", PLAIN, Site(ShareName("abc"))),
        ("abc--81.relay.example", PLAIN, Site(ShareName("abc"), "81")),
        ("192.0.2.1:7443", PLAIN, SOLE),
        (f"{HOST}:443", TLS, Site(ShareName("abc"))),
    ],
)
def test_whom_a_request_is_for(host: str, origin: Origin, site: Site) -> None:
    assert check_request(request(host=host), origin, SITES) == site


@pytest.mark.parametrize(
    ("asked", "origin", "status"),
    [
        (request(host="relay.example"), PLAIN, 421),
        (request(host="192.0.2.2"), PLAIN, 421),
        (request(host="192.0.2.1"), TLS, 421),
        (request(host="other.relay.example"), TLS, 421),
        (request(), Origin("192.0.2.9", tls=True, server_name=None), 421),
        (request(method="CONNECT", target=f"{HOST}:443"), PLAIN, 405),
        (request(target="http://other.relay.example/"), PLAIN, 400),
        (request("Content-Length: 3", "Transfer-Encoding: chunked"), PLAIN, 400),
        (request(*(f"X-{number}: {'x' * 1000}" for number in range(17))), PLAIN, 431),
        (request(target="/" + "x" * 16_384), PLAIN, 431),
    ],
)
def test_what_is_refused(asked: h11.Request, origin: Origin, status: int) -> None:
    with pytest.raises(HttpError) as info:
        check_request(asked, origin, SITES)
    assert info.value.status == HTTPStatus(status)


def test_chunks_before_http_1_1_are_refused() -> None:
    fields = [("Host", HOST), ("Transfer-Encoding", "chunked")]
    old = h11.Request(method="POST", target="/", headers=fields, http_version="1.0")
    with pytest.raises(HttpError, match="ambiguous"):
        check_request(old, PLAIN, SITES)


@pytest.mark.parametrize(
    ("target", "forwarded"),
    [
        (b"/a?b", b"/a?b"),
        (b"*", b"*"),
        (b"//x/y", b"//x/y"),
        (b"/to?url=http://x/", b"/to?url=http://x/"),
        (b"http://abc.relay.example", b"/"),
        (b"HTTP://abc.relay.example/a?b=/c", b"/a?b=/c"),
        (b"https://abc.relay.example?b", b"/?b"),
        (b"http://abc.relay.example?b=/c", b"/?b=/c"),
    ],
)
def test_targets_in_origin_form(target: bytes, forwarded: bytes) -> None:
    assert forwarded_target(target) == forwarded


@given(st.from_regex(rb"[!-~]{1,60}", fullmatch=True))
def test_no_target_escapes(target: bytes) -> None:
    assert forwarded_target(target)


def test_an_absolute_target_agrees_with_host() -> None:
    asked = request(target=f"http://{HOST.upper()}/a")
    assert host_text(asked) == HOST
    assert check_request(asked, PLAIN, SITES) == Site(ShareName("abc"))


def test_bodies() -> None:
    assert has_body(request("Content-Length: 10"))
    assert has_body(request("Transfer-Encoding: chunked"))
    assert not has_body(request("Content-Length: 0"))
    assert not has_body(request("Content-Length: 000"))
    assert not has_body(request())


def test_what_is_between_two_hops_stays_there() -> None:
    asked = request(
        "Connection: keep-alive, X-Mine",
        "connection: X-More",
        "X-Mine: 1",
        "X-MORE: 1",
        "Keep-Alive: 5",
        "TE: trailers",
        "Proxy-Authorization: secret",
        "Upgrade: h2c",
        "X-Kept: 1",
        "Cookie: a=1",
        "Cookie: b=2",
    )
    told = lines(request_headers(asked, PLAIN))
    assert told[:4] == [f"Host: {HOST}", "X-Kept: 1", "Cookie: a=1", "Cookie: b=2"]
    assert {line.partition(":")[0] for line in told[4:]} == {
        "X-Forwarded-For",
        "X-Forwarded-Proto",
        "X-Forwarded-Host",
        "Forwarded",
    }


def test_connection_cannot_take_away_what_frames_a_message() -> None:
    asked = request("Connection: Host, Content-Length, Cookie", "Content-Length: 3", "Cookie: a")
    told = lines(request_headers(asked, PLAIN))
    assert f"Host: {HOST}" in told
    assert "Content-Length: 3" in told
    assert "Cookie: a" not in told


def test_where_it_came_from_is_the_gateways_word() -> None:
    claims = ("Forwarded", "X-Forwarded-For", "x-forwarded-anything", "X-Real-IP")
    asked = request(*(f"{name}: 203.0.113.6" for name in claims))
    assert lines(request_headers(asked, TLS)) == [
        f"Host: {HOST}",
        "X-Forwarded-For: 2001:db8::9",
        "X-Forwarded-Proto: https",
        f"X-Forwarded-Host: {HOST}",
        f'Forwarded: for="[2001:db8::9]";host="{HOST}";proto=https',
    ]
    assert lines(request_headers(request(), PLAIN))[-1] == (
        f'Forwarded: for=192.0.2.9;host="{HOST}";proto=http'
    )


def test_upgrades() -> None:
    asked = request("Connection: keep-alive, Upgrade", "Upgrade: websocket")
    assert is_upgrade(asked)
    assert lines(request_headers(asked, PLAIN))[-2:] == [
        "Connection: Upgrade",
        "Upgrade: websocket",
    ]
    assert not is_upgrade(request("Upgrade: websocket"))
    assert not is_upgrade(request("Connection: upgrade"))
    switched = h11.InformationalResponse(
        status_code=101, headers=[("Connection", "Upgrade"), ("Upgrade", "websocket"), ("X", "1")]
    )
    assert lines(response_headers(switched, HOST)) == [
        "X: 1",
        "Connection: Upgrade",
        "Upgrade: websocket",
    ]


def test_answers() -> None:
    answer = response("Set-Cookie: a", "Set-Cookie: b", "Connection: close, X-Hop", "X-Hop: 1")
    assert lines(response_headers(answer, HOST)) == ["Set-Cookie: a", "Set-Cookie: b"]
    both = response("Content-Length: 9", "Transfer-Encoding: chunked")
    assert lines(response_headers(both, HOST)) == ["Transfer-Encoding: chunked"]


def test_cookies_of_answers_are_for_the_site_alone() -> None:
    fields = ("Set-Cookie: a=1; Domain=relay.example", f"set-cookie: b=2; Domain={HOST}; Path=/")
    kept = ["Set-Cookie: a=1", f"set-cookie: b=2; Domain={HOST}; Path=/"]
    assert lines(response_headers(response(*fields), HOST)) == kept
    pairs = [(name, value) for name, _, value in (field.partition(": ") for field in fields)]
    for status in (101, 103):
        early = h11.InformationalResponse(status_code=status, headers=pairs)
        assert lines(response_headers(early, HOST))[:2] == kept


@pytest.mark.parametrize(
    "name", ["X_Forwarded_For", "X-Forwarded_For", "x.forwarded.host", "X_Real_IP", "FORWARDED"]
)
def test_what_some_take_for_a_forwarding_field_is_the_gateways(name: str) -> None:
    sent = lines(request_headers(request(f"{name}: 6.6.6.6"), PLAIN))
    assert not [each for each in sent if "6.6.6.6" in each]


@pytest.mark.parametrize(
    ("method", "target", "allowed"),
    [
        ("OPTIONS", "*", True),
        ("GET", "*", False),
        ("GET", "a", False),
        ("GET", "?a", False),
        ("GET", "a.example:443", False),
        ("GET", f"ftp://{HOST}/", False),
        ("GET", f"http://{HOST}?a", True),
    ],
)
def test_targets(method: str, target: str, allowed: bool) -> None:
    with contextlib.nullcontext() if allowed else pytest.raises(HttpError, match="no path"):
        check_request(request(method=method, target=target), PLAIN, SITES)


@pytest.mark.parametrize("status", [103, 204])
def test_answers_that_have_no_body_have_no_framing(status: int) -> None:
    kind = h11.InformationalResponse if status < 200 else h11.Response
    fields = [("Content-Length", "5"), ("Transfer-Encoding", "chunked"), ("Link", "</a>")]
    answer = kind(status_code=status, headers=fields)
    assert lines(response_headers(answer, HOST)) == ["Link: </a>"]
