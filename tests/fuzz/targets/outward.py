"""The way out: what proxies answer, what variables name, what certificates a doctor is shown."""

from __future__ import annotations

import datetime
import random

from tests.fuzz.target import Target, choose, cuts_of, require
from tunnel.address import MAX_HOST
from tunnel.doctor.certificate import issuer_of, valid_until
from tunnel.doctor.finding import FailedError
from tunnel.errors import UsageError
from tunnel.identity import Authority
from tunnel.names import ShareName
from tunnel.proxy import Proxy, ProxyError, is_exempt, parse_proxy
from tunnel.proxy_connect import ConnectRequest

PASSWORD = "q7Zx"
PROXIES = (
    Proxy("http", "proxy", 3128, source="https_proxy"),
    Proxy("http", "proxy", 3128, "bob", PASSWORD, "https_proxy"),
)
NOW = datetime.datetime(2026, 7, 1, tzinfo=datetime.UTC)
ANSWERS = (
    b"HTTP/1.1 200 Connection established\r\n\r\n",
    b"HTTP/1.0 200 OK\r\nProxy-agent: tinyproxy/1.11\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
    b'HTTP/1.1 407 No\r\nProxy-Authenticate: Basic realm="x"\r\nContent-Length: 2\r\n\r\nno',
    b"HTTP/1.1 407 No\r\nProxy-Authenticate: Negotiate\r\nProxy-Authenticate: NTLM\r\n\r\n",
    b"HTTP/1.1 403 Forbidden\r\n\r\n<html>",
    b"HTTP/1.1 502 Bad Gateway\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
)
URLS = (
    "http://proxy:3128", "http://bob:q7Zx@proxy:3128/", "socks5h://bob:q7Zx@[2001:db8::1]:1080",
    "socks5://10.0.0.1", "https://proxy", "proxy.example", "http://bob:q7%5a%78@fe80::1",
)  # fmt: skip
LISTS = ("*", ".example.org,10.0.0.0/8", "[::1] localhost", "relay.example.org:443", "fe80::/10")
WORDS = (b"HTTP/1.1 ", b"200", b"407", b"\r\n\r\n", b"Proxy-Authenticate: ", b"socks5h://", b"@",
         b"%40", b"/32", b"*.", b"Basic")  # fmt: skip


def run_answer(data: bytes) -> None:
    which, data = choose(data)
    proxy = PROXIES[which % len(PROXIES)]
    opened = [_opens(proxy, pieces) for pieces in ([data], *cuts_of(data))]
    if opened[0]:
        require(all(opened), "what opens at once opens in pieces", opened)


def _opens(proxy: Proxy, pieces: list[bytes]) -> bool:
    request = ConnectRequest(proxy, "relay.test", 8443)
    request.data_to_send()
    try:
        for piece in pieces:
            if piece and request.receive_data(piece):
                return True
        request.receive_data(b"")
    except ProxyError as error:
        require(PASSWORD not in error.text + error.hint, "no password is shown")
        require(error.hint, "there is something to do about it")
        return False
    raise AssertionError("a proxy that hung up is no way")


def run_variable(data: bytes) -> None:
    which, data = choose(data)
    text = data.decode("utf-8", "surrogateescape")
    if which % 2:
        require(is_exempt("127.0.0.1", {"no_proxy": text}), "loopback is exempt")
        is_exempt(text, {"no_proxy": text})
        return
    try:
        proxy = parse_proxy(text, "https_proxy")
    except UsageError as error:
        require(PASSWORD not in error.text + error.hint, "no password is shown")
        raise
    require(0 < proxy.port < 65_536 and 0 < len(proxy.host) <= MAX_HOST + 8, "a place is one")
    if len(proxy.password) > 3 and PASSWORD in proxy.password:
        shown = str(proxy).replace(proxy.user, "").replace(proxy.host, "")
        require(proxy.password not in shown, "no password is shown")


def run_certificate(data: bytes) -> None:
    require(len(issuer_of(data)) < 100, "a name is short")
    valid_until(data, NOW)


def _certificate() -> bytes:
    return Authority(ShareName("frosty-weasel-0857"), NOW).certificate


def _answer(random_of: random.Random) -> bytes:
    head = random_of.choice(ANSWERS)
    return bytes([random_of.randrange(2)]) + head + random_of.choice((b"", b"\x16\x03", head))


TARGETS = (
    Target(
        "proxy-answer", run_answer, (ProxyError,),
        tuple(bytes([at]) + each for each in ANSWERS for at in range(2)),
        ("tunnel.proxy_connect",), WORDS, _answer, 20_000, 0.25, "h11 reads each piece",
    ),
    Target(
        "proxy-variable", run_variable, (UsageError,),
        tuple(bytes([at]) + each.encode() for each in (*URLS, *LISTS) for at in range(2)),
        ("tunnel.proxy",), WORDS,
    ),
    Target(
        "doctor-certificate", run_certificate, (FailedError,), (_certificate(), b""),
        ("tunnel.doctor.certificate",),
    ),
)  # fmt: skip
