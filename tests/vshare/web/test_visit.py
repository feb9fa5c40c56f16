from __future__ import annotations

import ipaddress
from urllib.parse import urljoin, urlsplit

import pytest

from tests.vshare.web.requests import BROWSER, FORM, HOST, request
from tunnel.http_pages import Media
from vshare.web.visit import (
    MAX_PLACE,
    address_of,
    form_fields,
    host_of,
    is_from_elsewhere,
    is_https,
    is_navigation,
    media_of,
    place_of,
    safe_place,
    source_of_visit,
)

UPGRADE = {"Connection": "keep-alive, Upgrade", "Upgrade": "websocket"}


@pytest.mark.parametrize(
    ("said", "address", "source"),
    [
        ("203.0.113.7", "203.0.113.7", "203.0.113.7"),
        ("::ffff:203.0.113.7", "203.0.113.7", "203.0.113.7"),
        ("2001:db8::7", "2001:db8::7", "2001:db8::/64"),
        ("fe80::1%eth0", "fe80::1", "fe80::/64"),
        ("somewhere", None, ""),
        ("203.0.113.7, 10.0.0.1", None, ""),
        (None, None, ""),
    ],
)
def test_where_a_visitor_comes_from(said: str | None, address: str | None, source: str) -> None:
    head = request(address=said)
    assert address_of(head) == (ipaddress.ip_address(address) if address else None)
    assert source_of_visit(head) == source


def test_two_addresses_are_none() -> None:
    head = request()
    head.fields.append((b"X-Forwarded-For", b"10.0.0.1"))
    assert address_of(head) is None


@pytest.mark.parametrize(
    ("host", "bare"),
    [("Site.Example:8443", b"site.example"), ("site.example.", b"site.example"),
     ("[2001:DB8::1]:80", b"[2001:db8::1]")],
)  # fmt: skip
def test_hosts(host: str, bare: bytes) -> None:
    assert host_of(request(host=host)) == bare


def test_schemes() -> None:
    assert is_https(request())
    assert not is_https(request(tls=False))


def test_a_change_of_protocol_is_answered_in_words() -> None:
    assert media_of(request(more=BROWSER)) is Media.HTML
    assert media_of(request(more=BROWSER | UPGRADE)) is Media.TEXT


@pytest.mark.parametrize(
    ("method", "more", "navigation"),
    [
        ("GET", BROWSER, True),
        ("HEAD", BROWSER, True),
        ("POST", BROWSER, False),
        ("GET", {}, False),
        ("GET", {"Accept": "*/*"}, False),
        ("GET", {"Accept": "application/json"}, False),
        ("GET", BROWSER | {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}, True),
        ("GET", BROWSER | {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}, False),
        ("GET", BROWSER | {"Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}, False),
        ("GET", BROWSER | UPGRADE, False),
    ],
)
def test_navigations(method: str, more: dict[str, str], navigation: bool) -> None:
    assert is_navigation(request(method=method, more=more)) is navigation


@pytest.mark.parametrize(
    ("origin", "elsewhere"),
    [
        (None, False),
        (f"https://{HOST}", False),
        (f"http://{HOST}", False),  # the relay may stand behind who ends TLS
        (f"https://{HOST.upper()}", False),
        ("https://evil.example", True),
        (f"https://{HOST}.evil.example", True),
        (f"https://{HOST}:8443", True),
        ("null", True),
        ("", True),
    ],
)
def test_who_sends_a_form(origin: str | None, elsewhere: bool) -> None:
    more = {"Origin": origin} if origin is not None else {}
    assert is_from_elsewhere(request(method="POST", more=more)) is elsewhere


@pytest.mark.parametrize(
    "target", ["/", "/a?b=c&d=%2F%2F#", "/a//b", "/.//evil.example", "/@evil.example", "/:80"]
)
def test_places_of_this_site(target: str) -> None:
    place = safe_place(target.encode()).decode()
    assert place == target
    assert urlsplit(urljoin(f"https://{HOST}/.vshare/passcode", place)).hostname == HOST


@pytest.mark.parametrize(
    "target",
    ["//evil.example/", "/\\evil.example", "\\\\evil.example", "https://evil.example", "", "x",
     "/x\\", "/\t/evil.example", "/ /", "/\r\nSet-Cookie: a=b", "/\x00", "/\u00e9", "*",
     "/.vshare/passcode", "/" + "a" * MAX_PLACE],
)  # fmt: skip
def test_other_places(target: str) -> None:
    assert safe_place(target.encode()) == b"/"


def test_where_to_go_back_to() -> None:
    assert place_of(request("/a?b")) == b"/a?b"
    assert place_of(request("/a?b", "POST")) == b"/"


@pytest.mark.parametrize(
    ("data", "fields"),
    [
        (b"to=%2Fa%3Fb&passcode=%C3%A9+1", {"to": "/a?b", "passcode": "\u00e9 1"}),
        (b"", {}),
        (b"to=", {"to": ""}),
        (b"to=\xff", None),
        (b"to=%ff", None),
        (b"&".join([b"a=b"] * 9), None),
    ],
)
def test_forms(data: bytes, fields: dict[str, str] | None) -> None:
    head = request(method="POST", more={"Content-Type": FORM["Content-Type"] + "; charset=x"})
    assert form_fields(head, data) == fields
    assert form_fields(request(method="POST", more={"Content-Type": "text/plain"}), data) is None
