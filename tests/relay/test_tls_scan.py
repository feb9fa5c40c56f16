"""What a scanner finds at the TLS servers: the relay's, which browsers meet, and the share's.

sslyze is asked where it is installed: $SSLYZE, or on PATH. It cannot be in one environment with
asyncssh, since both want their own version of cryptography: give it one of its own, as pipx does.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import ssl

import msgspec
import pytest

from relay.config import RelayConfig
from relay.server import Relay
from tests.loops import run
from tests.share_pair import NAME, Pair, share_pair
from tunnel import join
from tunnel.identity import client_context, join_client_context

pytestmark = pytest.mark.programs

OPENSSL, SSLYZE = shutil.which("openssl"), os.environ.get("SSLYZE") or shutil.which("sslyze")
needs_openssl = pytest.mark.skipif(OPENSSL is None, reason="openssl(1) is not installed")
needs_sslyze = pytest.mark.skipif(SSLYZE is None, reason="sslyze is not installed")
TUNNEL = "vshare/1"
CHECKS = (
    *("sslv2", "sslv3", "tlsv1", "tlsv1_1", "tlsv1_2", "tlsv1_3"),
    *("compression", "reneg", "heartbleed", "robot", "openssl_ccs"),
    *("resum", "early_data", "fallback"),
)
WEAK_SUITES = (
    "ECDHE-ECDSA-AES128-SHA256",  # CBC
    "ECDHE-ECDSA-AES256-SHA",
    "ECDHE-RSA-AES128-SHA",
    "AES128-GCM-SHA256",  # no forward secrecy
    "DHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-NULL-SHA",
    "ADH-AES128-SHA",
)
FIT_SUITES = (
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
)


class Suite(msgspec.Struct):
    name: str


class Accepted(msgspec.Struct):
    cipher_suite: Suite


class Suites(msgspec.Struct):
    accepted_cipher_suites: list[Accepted]

    def names(self) -> set[str]:
        return {each.cipher_suite.name for each in self.accepted_cipher_suites}


async def output_of(*command: str) -> tuple[int | None, str]:
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await process.communicate()
    return process.returncode, out.decode(errors="replace")


async def s_client(port: int, server_name: str, *options: str) -> str:
    """What `openssl s_client` says of a handshake, every suite that it has permitted."""
    where = "-connect", f"127.0.0.1:{port}", "-servername", server_name
    cipher = () if "-cipher" in options else ("-cipher", "ALL:@SECLEVEL=0")
    return (await output_of(str(OPENSSL), "s_client", *where, *cipher, *options))[1]


def is_agreed(said: str) -> bool:
    """Whether the handshake came to an end that is none of the client's own refusals."""
    assert "no ciphers available" not in said
    assert "no cipher match" not in said
    return "(NONE)" not in said


async def scan(port: int, server_name: str) -> dict[str, object]:
    """Each of CHECKS, as sslyze reports it."""
    code, out = await output_of(
        str(SSLYZE),
        f"127.0.0.1:{port}",
        f"--sni={server_name}",
        "--mozilla_config=disable",
        "--json_out=-",
        *(f"--{check}" for check in CHECKS),
    )
    assert code == 0, out
    (found,) = json.loads(out)["server_scan_results"]
    assert found["scan_status"] == "COMPLETED"
    done = {key: value for key, value in found["scan_result"].items() if value["result"]}
    assert len(done) == len(CHECKS), {key: value["status"] for key, value in found.items()}
    return {key: value["result"] for key, value in done.items()}


@needs_sslyze
@pytest.mark.parametrize("server_name", ["localhost", f"{NAME}.localhost"])
def test_the_relay_is_scanned(server_name: str) -> None:
    """Its own pages, and its gateway."""

    async def main() -> None:
        async with Relay(RelayConfig()) as relay:
            found = await scan(relay.port, server_name)

        def suites(version: str) -> set[str]:
            return msgspec.convert(found[f"{version}_cipher_suites"], Suites).names()

        for version in ("ssl_2_0", "ssl_3_0", "tls_1_0", "tls_1_1"):
            assert suites(version) == set(), version
        for name in suites("tls_1_2"):
            assert name.startswith("TLS_ECDHE_"), name
            assert "_GCM_" in name or "_CHACHA20_POLY1305_" in name, name
        assert suites("tls_1_2")
        assert suites("tls_1_3")
        text = json.dumps(found)
        for fact in (
            '"supports_compression": false',
            '"is_vulnerable_to_client_renegotiation_dos": false',
            '"supports_secure_renegotiation": true',
            '"is_vulnerable_to_heartbleed": false',
            '"robot_result": "NOT_VULNERABLE_RSA_NOT_SUPPORTED"',
            '"is_vulnerable_to_ccs_injection": false',
            '"tls_ticket_successful_resumptions_count": 0',
            '"supports_early_data": false',
            '"supports_fallback_scsv": true',
        ):
            assert fact in text, fact

    run(main)


@needs_openssl
def test_what_the_relay_agrees_to() -> None:
    async def main() -> None:
        async with Relay(RelayConfig()) as relay:
            for version in ("-tls1", "-tls1_1"):
                assert not is_agreed(await s_client(relay.port, "localhost", version)), version
            for suite in WEAK_SUITES:
                weak = "-tls1_2", "-cipher", f"{suite}:@SECLEVEL=0"
                assert not is_agreed(await s_client(relay.port, "localhost", *weak)), suite
            for suite in FIT_SUITES:
                said = await s_client(relay.port, "localhost", "-tls1_2", "-cipher", suite)
                assert is_agreed(said), suite
                assert "Compression: NONE" in said
                assert "TLS session ticket:" not in said
            assert is_agreed(await s_client(relay.port, "localhost", "-tls1_3"))

    run(main)


@needs_openssl
@pytest.mark.parametrize("protocol", [TUNNEL, join.ALPN])
def test_the_share_agrees_to_tls_1_3_alone(protocol: str) -> None:
    async def main() -> None:
        async with share_pair() as pair:
            for version in ("-tls1", "-tls1_1", "-tls1_2"):
                said = await s_client(pair.port, NAME, "-alpn", protocol, version)
                assert not is_agreed(said), version
                assert "alert protocol version" in said, said
            said = await s_client(pair.port, NAME, "-alpn", protocol, "-tls1_3")
            assert is_agreed(said)
            assert f"ALPN protocol: {protocol}" in said
            assert "New, TLSv1.3" in said

    run(main)


def handshake(pair: Pair, context: ssl.SSLContext, session: ssl.SSLSession | None) -> ssl.SSLSocket:
    """A connection on which the share has said something, so whatever came before is here."""
    raw = socket.create_connection(("127.0.0.1", pair.port), timeout=10)
    sock = context.wrap_socket(raw, server_hostname=NAME, session=session)
    if sock.selected_alpn_protocol() == join.ALPN:
        sock.sendall(b"\0\1\xc0")  # no request to join: a guest would be told why
    sock.recv(65_536)
    return sock


@pytest.mark.parametrize("protocol", [TUNNEL, join.ALPN])
def test_the_share_resumes_no_session(protocol: str) -> None:
    """Who is removed from the guest list must not come back without its certificate."""

    async def main() -> None:
        async with share_pair() as pair:
            if protocol == TUNNEL:
                context = client_context(pair.identity(), TUNNEL)
            else:
                context = join_client_context(join.ALPN)
            with await asyncio.to_thread(handshake, pair, context, None) as first:
                assert first.version() == "TLSv1.3"
                session = first.session
                assert session is not None
                assert not session.has_ticket
            with await asyncio.to_thread(handshake, pair, context, session) as second:
                assert not second.session_reused

    run(main)
