"""Who may see the page: tokens, cookies, and where a request was made."""

from __future__ import annotations

import itertools

import pytest

from vshare.dashboard.doorkeeper import MAX_SESSIONS, MAX_TOKENS, Doorkeeper, Headers

HOST = b"127.0.0.1:4000"
ORIGIN = b"http://127.0.0.1:4000"


def make(port: int = 4000) -> Doorkeeper:
    counter = itertools.count()
    return Doorkeeper(port, lambda: f"secret{next(counter)}")


def token_of(url: str) -> str:
    return url.partition("?token=")[2]


def cookie(value: str) -> Headers:
    return {b"cookie": [b"theme=dark; " + value.partition(";")[0].encode() + b"; x"]}


def test_a_token_is_used_up() -> None:
    keeper = make()
    url = keeper.issue_url()
    assert url == "http://127.0.0.1:4000/secret0/?token=secret1"
    assert keeper.redeem("secret2") is None
    assert keeper.redeem("") is None
    assert keeper.redeem("é") is None
    given = keeper.redeem(token_of(url))
    assert given == "vshare-4000=secret2; Path=/secret0/; HttpOnly; SameSite=Strict"
    assert keeper.redeem(token_of(url)) is None
    assert keeper.knows(cookie(given))


@pytest.mark.parametrize(
    "line", [b"", b"vshare-4000=", b"vshare-4000=secret1", b"vshare-4001=secret2", b"secret2"]
)
def test_other_cookies_do_not_count(line: bytes) -> None:
    keeper = make()
    keeper.redeem(token_of(keeper.issue_url()))
    assert not keeper.knows({b"cookie": [line]})
    assert not keeper.knows({})
    # Another server of this host can put a cookie of that name before the right one.
    assert keeper.knows({b"cookie": [line, b"vshare-4000=x; vshare-4000=secret2"]})


def test_tokens_and_sessions_are_bounded() -> None:
    keeper = make()
    urls = [keeper.issue_url() for _ in range(MAX_TOKENS + 1)]
    assert keeper.redeem(token_of(urls[0])) is None
    sessions = [keeper.redeem(token_of(url)) or "" for url in urls[1:]]
    while len(sessions) <= MAX_SESSIONS:
        sessions.append(keeper.redeem(token_of(keeper.issue_url())) or "")
    assert [keeper.knows(cookie(each)) for each in sessions] == [False] + [True] * MAX_SESSIONS


WELCOME: list[tuple[bytes, bool, Headers]] = [
    (b"GET", False, {}),
    (b"GET", False, {b"host": [b"localhost:4000"]}),
    (b"GET", False, {b"origin": [ORIGIN]}),
    (b"GET", False, {b"sec-fetch-site": [b"same-origin"]}),
    (b"GET", False, {b"sec-fetch-site": [b"cross-site"], b"sec-fetch-mode": [b"navigate"]}),
    (b"POST", False, {b"origin": [ORIGIN]}),
    (b"POST", False, {b"host": [b"localhost:4000"], b"origin": [b"http://localhost:4000"]}),
    (b"GET", True, {b"origin": [ORIGIN], b"sec-fetch-site": [b"same-origin"]}),
]
UNWELCOME: list[tuple[bytes, bool, Headers]] = [
    (b"GET", False, {b"host": [b"rebound.example:4000"]}),
    (b"GET", False, {b"host": [b"127.0.0.1"]}),
    (b"GET", False, {b"host": [b"127.0.0.1:4001"]}),
    (b"GET", False, {b"host": [b"127.0.0.1:4000.evil.example"]}),
    (b"GET", False, {b"host": [HOST, HOST]}),
    (b"GET", False, {b"host": []}),
    (b"GET", False, {b"origin": [b"http://evil.example"]}),
    (b"GET", False, {b"origin": [b"null"]}),
    (b"GET", False, {b"origin": [b"http://127.0.0.1:4001"]}),
    (b"GET", False, {b"sec-fetch-site": [b"cross-site"], b"sec-fetch-mode": [b"no-cors"]}),
    (b"GET", False, {b"sec-fetch-site": [b"same-site"], b"sec-fetch-mode": [b"cors"]}),
    (b"POST", False, {}),
    (b"POST", False, {b"origin": [b"http://localhost:4000"]}),
    (b"POST", False, {b"origin": [b"https://127.0.0.1:4000"]}),
    (b"POST", False, {b"origin": [ORIGIN, ORIGIN]}),
    (
        b"POST",
        False,
        {
            b"origin": [ORIGIN],
            b"sec-fetch-site": [b"cross-site"],
            b"sec-fetch-mode": [b"navigate"],
        },
    ),
    (b"DELETE", False, {}),
    (b"GET", True, {}),
    (b"GET", True, {b"origin": [b"http://127.0.0.1:4001"]}),
    (b"GET", True, {b"origin": [b"null"]}),
]


@pytest.mark.parametrize(("method", "web_socket", "headers"), WELCOME)
def test_the_page_itself_is_welcome(method: bytes, web_socket: bool, headers: Headers) -> None:
    assert make().is_welcome(method, {b"host": [HOST], **headers}, web_socket=web_socket)


@pytest.mark.parametrize(("method", "web_socket", "headers"), UNWELCOME)
def test_other_sites_are_not(method: bytes, web_socket: bool, headers: Headers) -> None:
    assert not make().is_welcome(method, {b"host": [HOST], **headers}, web_socket=web_socket)


def test_port_80_is_left_out() -> None:
    keeper = make(80)
    assert keeper.issue_url().startswith("http://127.0.0.1/")
    assert keeper.is_welcome(b"GET", {b"host": [b"localhost"]}, web_socket=False)
