"""Domains of sharers' own: one form of each, and a record for one key and one host."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunnel.errors import UsageError
from tunnel.own_domains import (
    MAX_HOST,
    OwnDomain,
    challenge_name,
    challenge_value,
    check_host,
    parse_own_domain,
)

KEY, OTHER = b"1" * 32, b"2" * 32
APP = OwnDomain("app.example.com")


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("app.example.com", "app.example.com"),
        ("  App.EXAMPLE.com. ", "app.example.com"),
        ("m\N{LATIN SMALL LETTER U WITH DIAERESIS}nchen.example", "xn--mnchen-3ya.example"),
        ("XN--MNCHEN-3YA.example", "xn--mnchen-3ya.example"),
        ("a\N{IDEOGRAPHIC FULL STOP}example", "a.example"),
        # Cyrillic letters that look like Latin ones are shown as what they are.
        ("\u0430\u0440\u0440\u04cf\u0435.com", "xn--80ak6aa92e.com"),
    ],
)
def test_one_form_of_each(text: str, host: str) -> None:
    assert parse_own_domain(text) == host
    check_host(host)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "com",
        "a..b",
        ".a.b",
        "a.b..",
        "a_b.example",
        "-a.example",
        "a-.example",
        "*.example.com",
        "a.*.com",
        "192.0.2.1",
        "[2001:db8::1]",
        "app.example.com:443",
        "http://app.example.com",
        "a b.example",
        "a\n.example",
        "a.example\0",
        "app.localhost",
        "printer.local",
        "x.onion",
        "1.0.0.127.in-addr.arpa",
        "xn--a.example",  # decodes to nothing
        "xn--app-.example",
        "ab--c.example",  # neither encoded nor plain (RFC 5891 4.2.3.1)
        f"{'a' * 64}.example",
        "a." * (MAX_HOST // 2) + "example",
        "x" * 100_000,
    ],
)
def test_what_is_none(text: str) -> None:
    with pytest.raises(UsageError):
        parse_own_domain(text)
    with pytest.raises(UsageError):
        check_host(text.lower())


def test_the_relay_takes_the_one_form_alone() -> None:
    for text in ("App.example.com", "app.example.com.", " app.example.com", "XN--MNCHEN-3YA.de"):
        with pytest.raises(UsageError):
            check_host(text)


@given(st.text(max_size=80))
def test_what_is_taken_is_in_its_one_form(text: str) -> None:
    try:
        host = parse_own_domain(text)
    except UsageError:
        return
    check_host(host)
    assert parse_own_domain(host) == host


def test_a_record_is_for_one_key_and_one_host() -> None:
    value = challenge_value(KEY, APP)
    assert value == "vshare-own-domain=erm4h76tmf43tuqd3dcqyvsrzk7dvua5lmcocs7dmdn4y5cfhlea"
    assert challenge_name(APP) == "_vshare-challenge.app.example.com"
    others = [(OTHER, APP), (KEY, OwnDomain("example.com")), (KEY, OwnDomain("ppp.example.com"))]
    assert len({value, *(challenge_value(*each) for each in others)}) == 4
