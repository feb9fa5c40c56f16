from __future__ import annotations

import asyncio
import contextlib
import os
import socket

import pytest

from tests.loops import Factory, both_loops, run, until
from tests.proxies import AUTH, PASSWORD, USER, Handler, HttpProxy, SocksProxy, answers, serving
from tests.share_pair import tcp_service
from tunnel.address import RelayAddress
from tunnel.proxy import HTTP, SOCKS5, SOCKS5H, Proxy, ProxyError
from tunnel.proxy_dial import dial_through
from tunnel.proxy_way import way_to
from tunnel.relay_tls import RelayError, dial_relay


def open_sockets() -> int:
    found = 0
    for each in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            found += os.readlink(f"/proc/self/fd/{each}").startswith("socket:")
    return found


def proxy_at(port: int, scheme: str = HTTP, user: str = "", password: str = "") -> Proxy:
    return Proxy(scheme, "127.0.0.1", port, user, password, "https_proxy")


async def check_echo(sock: socket.socket) -> None:
    """What is sent comes back through the proxy, and so does EOF."""
    loop = asyncio.get_running_loop()
    assert not sock.getblocking()
    assert type(sock) is socket.socket
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    with sock:
        await loop.sock_sendall(sock, b"hello")
        assert await loop.sock_recv(sock, 10) == b"hello"
        sock.shutdown(socket.SHUT_WR)
        assert await loop.sock_recv(sock, 10) == b""


@both_loops
def test_through_http(factory: Factory) -> None:
    async def main() -> None:
        files = open_sockets()
        plain, strict = HttpProxy(), HttpProxy(AUTH)
        async with tcp_service() as echo, serving(plain) as one, serving(strict) as other:
            await check_echo(await dial_through(proxy_at(one), "relay.test", echo, 5))
            known = proxy_at(other, HTTP, USER, PASSWORD)
            await check_echo(await dial_through(known, "2001:db8::1", echo, 5))
            assert plain.asked == [f"relay.test:{echo}"]
            assert strict.asked == [f"[2001:db8::1]:{echo}"]
            with pytest.raises(ProxyError, match="wants a user and a password"):
                await dial_through(proxy_at(other), "relay.test", echo, 5)
        await until(lambda: open_sockets() == files)

    run(main, factory)


@both_loops
def test_through_socks5(factory: Factory) -> None:
    async def main() -> None:
        plain, strict = SocksProxy(), SocksProxy(auth=True)
        async with tcp_service() as echo, serving(plain) as one, serving(strict) as other:
            await check_echo(await dial_through(proxy_at(one, SOCKS5H), "relay.test", echo, 5))
            await check_echo(await dial_through(proxy_at(one, SOCKS5), "localhost", echo, 5))
            assert plain.asked[0] == f"relay.test:{echo}"
            assert plain.asked[1] in (f"127.0.0.1:{echo}", f"::1:{echo}")
            known = proxy_at(other, SOCKS5H, USER, PASSWORD)
            await check_echo(await dial_through(known, "2001:db8::1", echo, 5))
            assert strict.asked == [f"2001:db8::1:{echo}"]
            for proxy, text in [
                (proxy_at(other, SOCKS5), "wants a user and a password"),
                (proxy_at(other, SOCKS5, USER, "wrong"), "does not accept user and password"),
            ]:
                with pytest.raises(ProxyError, match=text) as caught:
                    await dial_through(proxy, "127.0.0.1", echo, 5)
                assert "wrong" not in caught.value.text + caught.value.hint

    run(main, factory)


@pytest.mark.parametrize(
    ("code", "text", "ask"),
    [
        (2, "connection not allowed by ruleset", "has to allow connections to 192.0.2.1:443"),
        (5, "connection refused: it does not reach 192.0.2.1:443", "able to connect"),
    ],
)
def test_what_a_socks_proxy_refuses(code: int, text: str, ask: str) -> None:
    async def main() -> None:
        async with serving(SocksProxy(reply=code)) as port:
            with pytest.raises(ProxyError, match=text) as caught:
                await dial_through(proxy_at(port, SOCKS5), "192.0.2.1", 443, 5)
            assert ask in caught.value.ask

    run(main)


async def _silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read()


async def _drips(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A head, or a SOCKS5 negotiation, that does not end."""
    await reader.read(100)
    for each in (b"\5", b"\0") * 1000:
        writer.write(each)
        await asyncio.sleep(0.01)


@both_loops
@pytest.mark.parametrize("scheme", [HTTP, SOCKS5])
@pytest.mark.parametrize("handler", [_silent, _drips])
def test_out_of_time(factory: Factory, scheme: str, handler: Handler) -> None:
    async def main() -> None:
        files = open_sockets()
        async with serving(handler) as port:
            with pytest.raises(ProxyError, match=r"in 0\.1 s|does not answer as"):
                await dial_through(proxy_at(port, scheme), "192.0.2.1", 443, 0.1)
        await until(lambda: open_sockets() == files)

    run(main, factory)


@pytest.mark.parametrize("scheme", [HTTP, SOCKS5])
def test_cancelled_leaves_nothing_open(scheme: str) -> None:
    async def main() -> None:
        files = open_sockets()
        came, went = asyncio.Event(), asyncio.Event()

        async def holds(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
            await reader.read(1)
            came.set()
            await reader.read()
            went.set()

        async with serving(holds) as port:
            async with asyncio.TaskGroup() as group:
                task = group.create_task(dial_through(proxy_at(port, scheme), "192.0.2.1", 443, 30))
                await came.wait()
                task.cancel()
            assert task.cancelled()
            async with asyncio.timeout(5):
                await went.wait()
        await until(lambda: open_sockets() == files)

    run(main)


def _gone() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.mark.parametrize("scheme", [HTTP, SOCKS5, SOCKS5H])
def test_no_proxy_there(scheme: str) -> None:
    async def main() -> None:
        with pytest.raises(ProxyError, match=r"cannot be reached: .*connection refused") as caught:
            await dial_through(proxy_at(_gone(), scheme), "192.0.2.1", 443, 5)
        assert "https_proxy" in caught.value.hint
        lost = Proxy(scheme, "nowhere.invalid", 1, source="ALL_PROXY")
        with pytest.raises(ProxyError, match="cannot resolve"):
            await dial_through(lost, "192.0.2.1", 443, 5)

    run(main)


@pytest.mark.parametrize("scheme", [SOCKS5, SOCKS5H])
@pytest.mark.parametrize("said", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\5", b""])
def test_no_socks_there(scheme: str, said: bytes) -> None:
    async def other(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(3)
        writer.write(said)
        await writer.drain()

    async def main() -> None:
        async with serving(other) as port:
            with pytest.raises(ProxyError, match="does not answer as a SOCKS5 proxy"):
                await dial_through(proxy_at(port, scheme), "192.0.2.1", 443, 5)

    run(main)


def test_a_relay_is_dialled_as_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        proxy = HttpProxy()
        async with tcp_service() as echo, serving(proxy) as port:
            monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{port}")
            relay = RelayAddress("relay.test", echo)
            await check_echo(await dial_relay(relay))
            await check_echo(await dial_relay(RelayAddress("127.0.0.1", echo)))  # never proxied
            assert proxy.asked == [f"relay.test:{echo}"]
            monkeypatch.setenv("no_proxy", "test")
            with pytest.raises(RelayError, match="cannot resolve"):
                await dial_relay(relay)

    run(main)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTP/1.1 403 Forbidden\r\n\r\n", "ask your network's administrator: the proxy has to"),
        (b"HTTP/1.1 407 No\r\n\r\n", "USER:PASSWORD@"),
    ],
)
def test_the_relays_error_says_what_the_proxy_said(
    monkeypatch: pytest.MonkeyPatch, answer: bytes, words: str
) -> None:
    async def main() -> None:
        async with serving(answers(answer)) as port:
            monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{port}")
            with pytest.raises(RelayError, match=r"relay\.test:443 cannot be reached") as caught:
                await dial_relay(RelayAddress("relay.test"))
            assert words in caught.value.hint

    run(main)


def test_this_hosts_own_addresses_are_dialled_directly() -> None:
    environ = {"https_proxy": "http://p:1"}
    assert way_to("0.0.0.0", environ) is None
    assert way_to("192.0.2.1", environ) is not None
    assert way_to("relay.test", environ) is not None
