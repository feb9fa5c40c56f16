"""Cookies for the site that sets them, and for no other."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.cookies import own_cookie

HOST = b"abc.relay.example"


@pytest.mark.parametrize(
    "cookie",
    [
        b"a=b",
        b"a=b; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=5",
        b"__Host-a=b; Path=/; Secure",
        b"__Secure-a=b; Secure",
        b"a=b; Domain=abc.relay.example",
        b"a=b;domain=.ABC.Relay.Example;Path=/",
        b"a=b;\tDOMAIN\t=\tabc.relay.example\t; Path=/",
        b"Domain=relay.example",  # its name and value
        b"domain=relay.example; Path=/domain",
        b"a=domain; Expires=Wed, 21 Oct 2026 07:28:00 GMT",
        b"",
    ],
)
def test_what_is_left_alone(cookie: bytes) -> None:
    assert own_cookie(cookie, HOST) == cookie


@pytest.mark.parametrize(
    "domain",
    [
        b"relay.example",
        b".relay.example",
        b"example",
        b"def.relay.example",
        b"abc--api.relay.example",
        b"c.relay.example",
        b"x.abc.relay.example",
        b"abc.relay.example.",
        b"..relay.example",
        b"%72elay.example",
        b'"relay.example"',
        b"relay.example\t",
        b"\x1frelay.example",
        b"abc.relay.example\x0f",
        b"\x7fabc.relay.example",
        b"app.test",
        b"",
    ],
)
def test_other_domains_are_left_out(domain: bytes) -> None:
    assert own_cookie(b"a=b; Domain=" + domain, HOST) == b"a=b"
    assert own_cookie(b"a=b;doMAIN =" + domain + b";Path=/", HOST) == b"a=b;Path=/"
    both = b"a=b; Domain=" + domain + b"; Domain=abc.relay.example"
    assert own_cookie(both, HOST) == b"a=b; Domain=abc.relay.example"
    assert own_cookie(b"a=b; Domain=abc.relay.example; domain=" + domain, HOST) == (
        b"a=b; Domain=abc.relay.example"
    )


@pytest.mark.parametrize("name", [b"Domain", b"domain", b" \x1fDomain", b"Domain\x7f", b"DOMAIN "])
def test_however_it_is_written(name: bytes) -> None:
    assert own_cookie(b"a=b;" + name + b"=relay.example", HOST) == b"a=b"


def test_without_a_value() -> None:
    assert own_cookie(b"a=b; Domain; Secure", HOST) == b"a=b; Secure"


@given(st.lists(st.sampled_from([b"a=b", b"Domain=", b"relay.example", b";", b" ", HOST, b"."])))
def test_once_is_enough(parts: list[bytes]) -> None:
    cookie = b"".join(parts)
    once = own_cookie(cookie, HOST)
    assert own_cookie(once, HOST) == once
    assert once.split(b";")[0] == cookie.split(b";")[0]
