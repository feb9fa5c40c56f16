"""The relay's certificate is another, and nobody notices who need not."""

from __future__ import annotations

import asyncio
import datetime
import logging
import socket
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from websockets.asyncio.client import connect as connect_socket

from relay.certificate import LASTS, make_certificate, make_key, read_identity
from relay.certificate_files import CertificateFiles, ShownIdentity
from relay.config import RelayConfig
from relay.server import Relay
from tests.loops import run, until
from tests.relay.tiny_share import tiny_share
from tests.tunnel.test_clienthello import real_hello
from tunnel import control
from tunnel.address import RelayAddress
from tunnel.control import Challenge, Register, Registered, Rejected
from tunnel.errors import VshareError
from tunnel.identity import fingerprint
from tunnel.parking import Paired
from tunnel.relay_tls import looking_context

DOMAIN = "relay.example"
NOW = datetime.datetime.now(datetime.UTC)
DAY = datetime.timedelta(days=1)
HANDSHAKE = 22  # TLS's content type (RFC 8446 5.1)


def pair(now: datetime.datetime = NOW, domain: str = DOMAIN) -> bytes:
    """A certificate and its key in one PEM."""
    key = make_key()
    return make_certificate(key, domain, now) + key


def rsa_pair() -> bytes:
    key = rsa.generate_private_key(65_537, 2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, DOMAIN)])
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(NOW - DAY).not_valid_after(NOW + DAY)
    certificate = builder.sign(key, hashes.SHA256())
    return certificate.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "relay.pem"
    file.write_bytes(pair())
    return file


def files_of(path: Path) -> tuple[CertificateFiles, ShownIdentity]:
    shown = ShownIdentity(read_identity(path, None))
    return CertificateFiles(shown, path, None, [DOMAIN]), shown


def replace(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def config(path: Path) -> RelayConfig:
    return RelayConfig(domain=DOMAIN, certificate=path)


async def certificate_at(
    port: int, context: ssl.SSLContext | None = None, name: str = DOMAIN
) -> bytes:
    """What the relay shows to a new connection."""
    _, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=context or looking_context(), server_hostname=name
    )
    try:
        certificate = writer.get_extra_info("ssl_object").getpeercert(True)
        assert isinstance(certificate, bytes)
        return certificate
    finally:
        writer.transport.abort()


def test_what_is_in_the_files_is_shown_from_then_on(path: Path) -> None:
    async def main() -> None:
        async with Relay(config(path)) as relay:
            first = await certificate_at(relay.port)
            assert fingerprint(first) == relay.fingerprint
            replace(path, pair())
            assert await certificate_at(relay.port) == first
            assert "new connections get" in relay.reload()
            second = await certificate_at(relay.port)
            assert second != first
            assert fingerprint(second) == relay.fingerprint
            assert "is the one in use" in relay.reload()

    run(main)


def test_a_key_of_another_kind_leaves_nothing_of_the_first(path: Path) -> None:
    """OpenSSL's context would keep both, and choose by what the client likes."""
    ecdsa = looking_context()
    ecdsa.maximum_version = ssl.TLSVersion.TLSv1_2
    ecdsa.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256")

    async def main() -> None:
        async with Relay(config(path)) as relay:
            await certificate_at(relay.port, ecdsa)
            replace(path, rsa_pair())
            relay.reload()
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await certificate_at(relay.port, ecdsa)
            assert fingerprint(await certificate_at(relay.port)) == relay.fingerprint

    run(main)


async def register(relay: Relay, *, sign_what_is_shown_now: bool) -> Registered | Rejected:
    """A share whose channel began before the certificate was changed."""
    key = Ed25519PrivateKey.generate()
    url = f"wss://127.0.0.1:{relay.port}{control.PATH}"
    async with connect_socket(url, ssl=looking_context(), proxy=None) as channel:
        challenge = control.parse_from_relay(await channel.recv())
        assert isinstance(challenge, Challenge)
        relay.reload()
        certificate = channel.transport.get_extra_info("ssl_object").getpeercert(True)
        if sign_what_is_shown_now:
            certificate = await certificate_at(relay.port)
        signature = key.sign(control.signed_bytes(challenge.nonce, certificate, ""))
        public = key.public_key().public_bytes_raw()
        route = "0123456789abcdef" * 2
        asked = Register(public, signature, "", False, 60.0, control.VERSION, route)
        await channel.send(control.serialize(asked))
        answer = control.parse_from_relay(await channel.recv())
        assert isinstance(answer, Registered | Rejected)
        return answer


@pytest.mark.parametrize("now", [False, True])
def test_a_share_signs_the_certificate_that_it_saw(path: Path, now: bool) -> None:
    async def main() -> None:
        async with Relay(config(path)) as relay:
            replace(path, pair())
            answer = await register(relay, sign_what_is_shown_now=now)
            if now:
                assert isinstance(answer, Rejected)
                assert answer.code == "signature"
            else:
                assert isinstance(answer, Registered)

    run(main)


def test_shares_stay_and_what_they_parked_is_good(path: Path) -> None:
    async def main() -> None:
        async with Relay(config(path)) as relay:
            address = RelayAddress("127.0.0.1", relay.port, relay.fingerprint)
            async with tiny_share(address, 9) as link:
                (share,) = relay.registry.shares()
                await until(lambda: len(share.lot))
                replace(path, pair())
                relay.reload()
                with await share.lot.take(Paired("visitor", "192.0.2.1")) as parked:
                    parked.sendall(real_hello(f"{link.route}.x", "vshare/1"))
                    loop = asyncio.get_running_loop()
                    assert (await loop.sock_recv(parked, 1))[0] == HANDSHAKE
                assert relay.registry.shares() == [share]

    run(main)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (pair(NOW - LASTS - 2 * DAY), "has expired"),
        (pair(NOW + 2 * DAY), "is not valid yet"),
        (pair().partition(b"-----BEGIN PRIVATE")[0] + make_key(), "the private key is not"),
        (pair().partition(b"-----BEGIN PRIVATE")[0], "cannot be used"),
        (pair()[:300], "cannot be used"),
        (b"", "cannot be used"),
        (None, "cannot be used"),
    ],
)
def test_what_cannot_be_used_changes_nothing(path: Path, content: bytes | None, text: str) -> None:
    files, shown = files_of(path)
    before = shown.current
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    with pytest.raises(VshareError, match=text):
        files.reload()
    assert shown.current is before


def test_a_key_with_a_pass_phrase_asks_nobody(path: Path) -> None:
    files, _ = files_of(path)
    certificate, _, key = pair().partition(b"-----BEGIN PRIVATE")
    private = serialization.load_pem_private_key(b"-----BEGIN PRIVATE" + key, None)
    path.write_bytes(
        certificate
        + private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    with pytest.raises(VshareError, match="cannot be used"):
        files.reload()


def test_changes_are_found_and_faults_are_told_once(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "relay.certificate_files")
    files, shown = files_of(path)
    first = shown.current
    files.reload_if_changed()
    assert shown.current is first
    path.write_bytes(b"half")
    for _ in range(3):
        files.reload_if_changed()
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "goes on with the one that it has" in caplog.text
    path.write_bytes(pair())
    files.reload_if_changed()
    assert shown.current is not first
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


def test_somebody_looks(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relay.certificate_files.LOOK_EVERY", 0.01)

    async def main() -> None:
        async with Relay(config(path)) as relay:
            before = relay.fingerprint
            replace(path, pair())
            while relay.fingerprint == before:  # noqa: ASYNC110  # what is waited for is a look
                await asyncio.sleep(0.001)
            assert fingerprint(await certificate_at(relay.port)) == relay.fingerprint

    run(main)


def test_names_and_dates_are_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "relay.pem"
    path.write_bytes(pair(NOW - LASTS - 2 * DAY, "other.example"))

    async def main() -> None:
        async with Relay(config(path)):
            pass

    run(main)
    assert "not for relay.example and *.relay.example" in caplog.text
    assert "has expired" in caplog.text


def test_a_relay_that_made_its_certificate_has_no_files_to_read() -> None:
    async def main() -> None:
        async with Relay(RelayConfig()) as relay:
            before = relay.fingerprint
            assert "made its certificate itself" in relay.reload()
            assert relay.fingerprint == before

    run(main)


@pytest.mark.parametrize("host", [DOMAIN, f"frosty-weasel-0857.{DOMAIN}"])
def test_browsers_are_given_http_1_1_alone(host: str) -> None:
    """With HTTP/2 they would put requests for several shares on one connection."""
    context = looking_context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    only = looking_context()
    only.set_alpn_protocols(["h2"])

    async def agreed(port: int, context: ssl.SSLContext) -> str | None:
        sock = socket.create_connection(("127.0.0.1", port))
        sock.setblocking(False)
        _, writer = await asyncio.open_connection(sock=sock, ssl=context, server_hostname=host)
        protocol = writer.get_extra_info("ssl_object").selected_alpn_protocol()
        writer.transport.abort()
        assert protocol is None or isinstance(protocol, str)
        return protocol

    async def main() -> None:
        async with Relay(RelayConfig(domain=DOMAIN)) as relay:
            assert await agreed(relay.port, context) == "http/1.1"
            assert await agreed(relay.port, only) is None

    run(main)
