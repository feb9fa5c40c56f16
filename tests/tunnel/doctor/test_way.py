"""The steps to a relay, against a real one and against real faults on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import email.utils
import ipaddress
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable, Mapping

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from relay.config import RelayConfig
from relay.server import Relay
from tests.loops import run
from tests.ports import refusing, silent
from tests.proxies import AUTH, HttpProxy, SocksProxy, answers, serving
from tunnel.address import RelayAddress
from tunnel.dialler import Address
from tunnel.doctor.finding import Finding, State, examine
from tunnel.doctor.verdict import judge
from tunnel.doctor.way import Way, steps_without_relay
from tunnel.identity import fingerprint, memory_file

OK, WARNING, FAILED, SKIPPED = State.OK, State.WARNING, State.FAILED, State.SKIPPED
NOW = datetime.datetime.now(datetime.UTC)
DAY = datetime.timedelta(days=1)


class Examined:
    """What the steps found, by name."""

    def __init__(self, way: Way, findings: list[Finding]) -> None:
        self.findings = findings
        self.verdict = judge(findings, way.relay, way.proxy)

    def __getitem__(self, name: str) -> Finding:
        found = [each for each in self.findings if each.name == name]
        assert len(found) == 1, found
        return found[0]

    def states(self, name: str) -> list[State]:
        return [each.state for each in self.findings if each.name == name]

    @property
    def failed(self) -> set[str]:
        return {each.name for each in self.findings if each.state is FAILED}


async def look(
    relay: RelayAddress,
    environ: Mapping[str, str] | None = None,
    *,
    sharing: bool = True,
    patience: float = 2.0,
) -> Examined:
    way = Way(relay, environ or {}, sharing=sharing, patience=patience)
    found = Examined(way, [each async for each in examine(way.steps())])
    for each in found.findings:
        assert each.seconds is not None
        assert "sesame" not in each.text + each.hint + each.ask
    return found


@contextlib.asynccontextmanager
async def a_relay(host: str = "127.0.0.1") -> AsyncIterator[RelayAddress]:
    """A real relay, called `host`."""
    async with Relay(RelayConfig(host="127.0.0.1", domain="localhost")) as relay:
        yield RelayAddress(host, relay.port, relay.fingerprint)


def certificate(
    issuer: str = "Corp Proxy CA", starts: datetime.datetime = NOW - DAY, days: int = 30
) -> tuple[bytes, ssl.SSLContext]:
    """A certificate (DER) for 127.0.0.1 that `issuer` signed, and a server's context with it."""
    key = ec.generate_private_key(ec.SECP256R1())

    def name(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder()
        .subject_name(name("relay.test"))
        .issuer_name(name(issuer))
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(starts)
        .not_valid_after(starts + days * DAY)
        .add_extension(address, critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = made.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with memory_file(pem) as path:
        context.load_cert_chain(path)
    return made.public_bytes(serialization.Encoding.DER), context


@contextlib.asynccontextmanager
async def pretender(
    answer: Callable[[str], bytes] = lambda head: b"", days: int = 30
) -> AsyncIterator[RelayAddress]:
    """Something that speaks TLS in a relay's place, and its pin; `answer` to each head."""
    der, context = certificate(days=days)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(answer((await reader.readuntil(b"\r\n\r\n")).decode()))

    async with serving(serve, context) as port:
        yield RelayAddress("127.0.0.1", port, fingerprint(der))


def healthy(head: str, status: str = "200 OK", headers: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: 3\r\n{headers}\r\nok\n".encode()


def test_all_is_well() -> None:
    async def main() -> None:
        async with a_relay() as relay:
            found = await look(relay)
            assert found.verdict.well, found.findings
            assert found.verdict.tell == ""
            skipped = {each.name for each in found.findings if each.state is SKIPPED}
            assert skipped == {"proxy"}
            assert "pinned, valid until" in found["TLS"].text
            assert "the control channel opens" in found["WebSocket"].text
            assert "8192 bytes at once; path MTU" in found["large packets"].text
            assert found["clock"].state is OK
            as_guest = await look(relay, sharing=False)
            assert as_guest.verdict.well
            assert as_guest.states("WebSocket") == []

    run(main)


@pytest.mark.parametrize("scheme", ["http", "socks5h"])
def test_all_is_well_through_a_proxy(scheme: str) -> None:
    async def main() -> None:
        proxy = HttpProxy(AUTH) if scheme == "http" else SocksProxy(auth=True)
        async with a_relay("relay.test") as relay, serving(proxy) as port:
            environ = {"ALL_PROXY": f"{scheme}://bob:sesame@127.0.0.1:{port}"}
            found = await look(relay, environ)
            assert found.verdict.well, found.findings
            assert found["proxy settings"].text == f"{scheme}://bob:***@127.0.0.1:{port}" \
                " (from ALL_PROXY)"  # fmt: skip
            assert found["proxy"].text == f"it connects to relay.test:{relay.port}"
            assert found.states("name resolution") == [SKIPPED, OK]
            assert set(proxy.asked) == {f"relay.test:{relay.port}"}

    run(main)


def test_an_exempt_relay_is_reached_without_the_proxy() -> None:
    async def main() -> None:
        async with a_relay() as relay:
            found = await look(relay, {"https_proxy": "http://192.0.2.1:1"})
            assert found.verdict.well
            assert "is reached without (no_proxy)" in found["proxy settings"].text

    run(main)


def test_no_dns() -> None:
    async def main() -> None:
        found = await look(RelayAddress("relay.nowhere.invalid"))
        assert found.failed == {"name resolution"}
        assert "cannot resolve 'relay.nowhere.invalid'" in found["name resolution"].text
        assert found["TLS"].state is found["end-to-end TLS"].state is SKIPPED
        assert "DNS of this network has to resolve" in found.verdict.tell
        assert "relay.nowhere.invalid:443" in found.verdict.tell

    run(main)


def test_a_refused_port() -> None:
    async def main() -> None:
        port = refusing()
        found = await look(RelayAddress("127.0.0.1", port))
        assert found.failed == {"TCP connection"}
        assert found["TCP connection"].text == f"127.0.0.1:{port}: connection refused"
        assert "is the relay running?" in found["TCP connection"].hint
        assert f"TCP connections to 127.0.0.1:{port} have to pass" in found.verdict.tell

    run(main)


def test_a_black_hole() -> None:
    async def main() -> None:
        with silent() as (_, port):
            found = await look(RelayAddress("127.0.0.1", port), patience=0.1)
        assert found.failed == {"TCP connection"}
        assert "no answer in 0.1 s: something drops the packets" in found["TCP connection"].text

    run(main)


def test_one_family_is_a_black_hole(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with a_relay() as relay:
            with silent() as (_, port):

                async def both(*_: object) -> list[Address]:
                    return [
                        (socket.AF_INET, ("127.0.0.1", port)),
                        (socket.AF_INET, ("127.0.0.1", relay.port)),
                        (socket.AF_INET, ("255.255.255.255", 9)),
                    ]

                monkeypatch.setattr("tunnel.doctor.way.resolve", both)
                found = await look(relay, patience=0.4)
            assert found.states("TCP connection") == [WARNING, OK, SKIPPED]
            assert found.verdict.well
            assert found.verdict.text == "all is well, with 1 warning"

    run(main)


def test_a_wrong_pin() -> None:
    async def main() -> None:
        async with pretender() as relay:
            found = await look(RelayAddress(relay.host, relay.port, "0" * 64))
        assert "TLS" in found.failed
        assert "not the one that its address names; it was issued by Corp Proxy CA" in (
            found["TLS"].text
        )
        assert "exempt it from inspection" in found.verdict.tell
        assert found["relay"].state is SKIPPED

    run(main)


def test_a_middle_box_before_a_public_relay() -> None:
    async def main() -> None:
        async with pretender(healthy) as relay:
            found = await look(RelayAddress(relay.host, relay.port))
        assert {"TLS", "end-to-end TLS"} == found.failed
        assert "is not valid" in found["TLS"].text
        assert "issued by Corp Proxy CA" in found["TLS"].text
        assert "somebody in between ends TLS, with a certificate issued by Corp Proxy CA" in (
            found["end-to-end TLS"].text
        )

    run(main)


def test_an_expired_certificate() -> None:
    async def main() -> None:
        async with pretender(healthy, days=0) as relay:
            found = await look(RelayAddress(relay.host, relay.port))
        assert "the relay's certificate expired on" in found["TLS"].text
        assert "who runs the relay must renew it" in found["TLS"].hint

    run(main)


def test_a_plain_http_server() -> None:
    async def at_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()

    async def main() -> None:
        async with serving(at_once) as port:
            found = await look(RelayAddress("127.0.0.1", port))
        assert found.failed == {"TLS", "end-to-end TLS"}
        assert "does not speak TLS" in found["TLS"].text
        assert found["WebSocket"].state is SKIPPED

    run(main)


def test_a_firewall_that_cuts_tls_off() -> None:
    async def cuts(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)

    async def main() -> None:
        async with serving(cuts) as port:
            found = await look(RelayAddress("127.0.0.1", port))
        assert found.failed == {"TLS", "end-to-end TLS"}
        assert "TCP passes, but TLS does not" in found["TLS"].text
        assert "does not pass" in found["end-to-end TLS"].text

    run(main)


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (b"HTTP/1.1 407 No\r\n\r\n", "wants a user and a password"),
        (b"HTTP/1.1 403 Forbidden\r\n\r\n", "does not allow connections to relay.test:443"),
        (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", "does not reach relay.test:443"),
    ],
)
def test_a_proxy_that_refuses(answer: bytes, text: str) -> None:
    async def main() -> None:
        async with serving(answers(answer)) as port:
            environ = {"https_proxy": f"http://127.0.0.1:{port}"}
            found = await look(RelayAddress("relay.test"), environ)
        assert found.failed == {"proxy"}
        assert text in found["proxy"].text
        assert found["TLS"].state is found["WebSocket"].state is SKIPPED
        if b"407" not in answer:
            assert "through the proxy 127.0.0.1:" in found.verdict.tell

    run(main)


def test_a_variable_that_names_no_proxy() -> None:
    async def main() -> None:
        found = await look(RelayAddress("relay.test"), {"https_proxy": "https://bob:sesame@x"})
        assert found.failed == {"proxy settings"}
        assert found["name resolution"].state is SKIPPED

    run(main)


def test_a_proxy_without_web_socket() -> None:
    def answer(head: str) -> bytes:
        return healthy(head, "400 Bad Request" if "pgrade: websocket" in head else "200 OK")

    async def main() -> None:
        async with pretender(answer) as relay:
            found = await look(relay)
        assert {"WebSocket", "end-to-end TLS"} == found.failed
        assert found["WebSocket"].text == "the upgrade was answered with HTTP 400"
        assert "WebSocket (RFC 6455, HTTP Upgrade) has to pass to wss://" in found.verdict.tell
        assert found["clock"].state is SKIPPED

    run(main)


@pytest.mark.parametrize("status", ["404 Not Found", "302 Found"])
def test_no_relay_at_all(status: str) -> None:
    async def main() -> None:
        async with pretender(lambda head: healthy(head, status)) as relay:
            found = await look(relay)
        assert f"is not a relay (HTTP {status[:3]} for /healthz)" in found["relay"].text
        assert found["round trip"].state is SKIPPED

    run(main)


def test_large_packets_get_lost() -> None:
    async def main() -> None:
        async with pretender(lambda head: healthy(head) if len(head) < 4096 else b"") as relay:
            found = await look(relay, sharing=False, patience=0.3)
        assert {"large packets", "end-to-end TLS"} == found.failed
        assert "small requests pass" in found["large packets"].text
        assert "ICMP" in found.verdict.tell

    run(main)


@pytest.mark.parametrize(
    ("off", "state", "words"),
    [
        (5, OK, "within a minute"),
        (7205, WARNING, "2 hours behind the relay's"),
        (-605, WARNING, "10 minutes ahead of"),
        (-3 * 86_400, FAILED, "3 days ahead of"),
    ],
)
def test_clocks(off: float, state: State, words: str) -> None:
    def answer(head: str) -> bytes:
        date = email.utils.formatdate(time.time() + off, usegmt=True)
        return healthy(head, headers=f"Date: {date}\r\n")

    async def main() -> None:
        async with pretender(answer) as relay:
            found = await look(relay, sharing=False)
        assert found["clock"].state is state
        assert words in found["clock"].text

    run(main)


@pytest.mark.parametrize(
    "said", [b"junk\r\n\r\n", b"HTTP/1.1 200 OK\r\nDate: never\r\nContent-Length: 2\r\n\r\nno", b""]
)
def test_hostile_answers_end_in_words(said: bytes) -> None:
    async def main() -> None:
        async with pretender(lambda head: said) as relay:
            found = await look(relay, sharing=False, patience=0.2)
        assert "relay" in found.failed

    run(main)


def test_an_answer_without_an_end() -> None:
    async def main() -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\n"
        async with pretender(lambda _: head + b"ok" * 100_000) as relay:
            found = await look(relay, sharing=False)
        assert "without an end" in found["relay"].text

    run(main)


def test_without_a_relay() -> None:
    async def main() -> None:
        found = [each async for each in examine(steps_without_relay({}))]
        assert [each.state for each in found] == [OK, SKIPPED]
        assert "VSHARE_RELAY" in found[1].text
        found = [each async for each in examine(steps_without_relay({"https_proxy": "ftp://x"}))]
        assert found[0].state is FAILED

    run(main)
