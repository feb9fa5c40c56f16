from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.proxies import AUTH, PASSWORD, USER
from tunnel.proxy import Proxy, ProxyError
from tunnel.proxy_connect import MAX_HEAD, ConnectRequest, authority

PLAIN = Proxy("http", "proxy", 3128, source="https_proxy")
KNOWN = Proxy("http", "proxy", 3128, USER, PASSWORD, "https_proxy")
OPEN = b"HTTP/1.1 200 Connection established\r\nX: y\r\n\r\n"


def ask(answer: bytes, proxy: Proxy = PLAIN) -> bool:
    request = ConnectRequest(proxy, "relay.test", 8443)
    request.data_to_send()
    return request.receive_data(answer)


def refused(answer: bytes, proxy: Proxy = PLAIN) -> ProxyError:
    with pytest.raises(ProxyError) as caught:
        ask(answer, proxy)
    assert PASSWORD not in caught.value.text + caught.value.hint
    assert caught.value.hint
    return caught.value


def test_the_request() -> None:
    data = ConnectRequest(PLAIN, "relay.test", 8443).data_to_send()
    assert data.startswith(b"CONNECT relay.test:8443 HTTP/1.1\r\nHost: relay.test:8443\r\n")
    assert b"uthorization" not in data
    data = ConnectRequest(KNOWN, "fe80::1%eth0", 443).data_to_send()
    assert data.startswith(b"CONNECT [fe80::1]:443 HTTP/1.1\r\n")
    assert f"\r\nProxy-Authorization: {AUTH}\r\n".encode() in data


def test_hosts() -> None:
    assert authority("relay.münchen.example", 1) == "relay.xn--mnchen-3ya.example:1"
    with pytest.raises(ProxyError, match="not a host name"):
        authority("bad..name", 1)


def test_open_whole_and_byte_by_byte() -> None:
    for head in (OPEN, b"HTTP/1.0 200 OK\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n" + OPEN):
        assert ask(head)
        request = ConnectRequest(PLAIN, "relay.test", 8443)
        request.data_to_send()
        for each in head[:-1]:
            assert not request.receive_data(bytes([each]))
        assert request.receive_data(head[-1:])


def test_what_follows_the_head_is_not_the_relays() -> None:
    assert "speaks in the relay's place" in refused(OPEN + b"\x16").text


def test_a_body_is_not_awaited() -> None:
    with_length = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"
    assert ask(with_length)  # RFC 9110 9.3.6: a 2xx to CONNECT has no body


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"\x15\x03\x01\x00\x02\x02\x16\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: " + b"y" * MAX_HEAD,
        b"y" * (MAX_HEAD + 1),
        b"HTTP/1.1 100 Continue\r\n\r\n" * 10,
        b"",
    ],
)
def test_nonsense(answer: bytes) -> None:
    assert "does not answer as an HTTP proxy" in refused(answer).text


def test_407() -> None:
    answer = b"HTTP/1.1 407 No\r\nProxy-Authenticate: %s\r\n\r\n"
    assert "wants a user and a password" in refused(answer % b'Basic realm="x"').text
    assert "does not accept user and password" in refused(answer % b"basic", KNOWN).text
    error = refused(answer % b"Negotiate\r\nProxy-Authenticate: NTLM", KNOWN)
    assert "authentication by negotiate, ntlm" in error.text
    assert "cntlm" in error.hint
    assert "relay.test:8443 without any" in error.ask


def test_other_statuses() -> None:
    error = refused(b"HTTP/1.1 403 Forbidden by \x1b[31mpolicy\r\n\r\n")
    assert "does not allow connections to relay.test:8443" in error.text
    assert "has to allow CONNECT to relay.test:8443" in error.ask
    assert error.ask in error.hint
    error = refused(b"HTTP/1.0 502 Bad Gateway\r\n\r\n")
    assert "502 Bad Gateway: it does not reach relay.test:8443" in error.text
    assert "answered 200" not in error.text
    assert "answered 302 to CONNECT" in refused(b"HTTP/1.1 302 \r\n\r\n").text


@given(st.lists(st.binary(max_size=64), max_size=20))
def test_whatever_comes_ends_in_words(parts: list[bytes]) -> None:
    request = ConnectRequest(PLAIN, "relay.test", 8443)
    request.data_to_send()
    try:
        for part in parts:
            if request.receive_data(part):
                return
    except ProxyError:
        pass
