from __future__ import annotations

import pytest

from tests.vshare.web.requests import Clock, request
from tunnel.http_heads import RequestHead
from vshare.web.cookies import LASTS, Cookies

KEY = b"k" * 32
CLOCK = Clock()
COOKIES = Cookies(b"vshare", KEY, CLOCK)


def given(head: RequestHead, cookies: Cookies = COOKIES) -> str:
    return cookies.make(head)[1].decode()


def sent(cookie: str, **changes: object) -> RequestHead:
    return request(more={"Cookie": cookie}, **changes)  # type: ignore[arg-type]  # keywords


def test_over_https_no_other_site_can_set_it() -> None:
    name, value = COOKIES.make(request())
    assert name == b"Set-Cookie"
    assert value.startswith(b"__Host-vshare=1800086400.")
    assert value.endswith(b"; Path=/; Max-Age=86400; HttpOnly; SameSite=Lax; Secure")
    assert b"Domain" not in value


def test_over_plain_http_it_has_a_plain_name() -> None:
    value = given(request(tls=False))
    assert value.startswith("vshare=")
    assert "Secure" not in value


@pytest.mark.parametrize("tls", [False, True])
def test_who_was_given_one_is_known(tls: bool) -> None:
    cookie = given(request(tls=tls)).partition(";")[0]
    assert COOKIES.take(sent(cookie, tls=tls))
    assert COOKIES.take(sent(f"a=b; {cookie};c=d", tls=tls))


def test_another_host_is_another_site() -> None:
    cookie = given(request(host="a--api.relay.example")).partition(";")[0]
    assert not COOKIES.take(sent(cookie, host="a.relay.example"))
    assert COOKIES.take(sent(cookie, host="A--api.relay.example:8443"))


def test_what_was_overheard_over_http_is_worth_nothing_over_https() -> None:
    token = given(request(tls=False)).partition(";")[0].partition("=")[2]
    assert not COOKIES.take(sent(f"vshare={token}; __Host-vshare={token}"))


def test_another_key_or_kind_is_another_cookie() -> None:
    cookie = given(request()).partition(";")[0]
    assert not Cookies(b"vshare", b"other" * 8, CLOCK).take(sent(cookie))
    token = cookie.partition("=")[2]
    assert not Cookies(b"vshare-seen", KEY, CLOCK).take(sent(f"__Host-vshare-seen={token}"))


def test_it_ends() -> None:
    clock = Clock()
    cookies = Cookies(b"vshare", KEY, clock)
    cookie = given(request(), cookies).partition(";")[0]
    clock.now += LASTS - 1
    assert cookies.take(sent(cookie))
    clock.now += 1
    assert not cookies.take(sent(cookie))


def test_its_end_cannot_be_moved() -> None:
    _, _, token = given(request()).partition(";")[0].partition("=")
    signature = token.partition(".")[2]
    assert not COOKIES.take(sent(f"__Host-vshare=999999999999.{signature}"))


@pytest.mark.parametrize(
    "token", ["", ".", "1." + "A" * 43, "9999999999." + "A" * 44, "x.y", "1" * 5000]
)
def test_what_is_none(token: str) -> None:
    assert not COOKIES.take(sent(f"__Host-vshare={token}"))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("a=b", "a=b"),
        ('a=b;c="d, e" ;  f', 'a=b;c="d, e" ;  f'),
        ("vshare=1", None),
        ("__Host-vshare=1", None),
        ("a=b; __Host-vshare=1;c=d", "a=b;c=d"),
        ("__Host-vshare=1; a=b", "a=b"),
        *[(other, other) for other in ("vshare-seen=1", "xvshare=2; VSHARE=3", "a=vshare")],
    ],
)
def test_the_machine_sees_its_own_cookies_alone(before: str, after: str | None) -> None:
    head = sent(before)
    COOKIES.take(head)
    assert head.value(b"cookie") == (after.encode() if after else None)
    assert head.value(b"host")
