from __future__ import annotations

import asyncio
import datetime
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.loops import run
from tests.vshare.peers import free_port, openssh, tcp_server
from vshare import http_probe
from vshare.http_probe import (
    Attempt,
    Candidate,
    Origin,
    ProbeResult,
    candidates,
    no_http_error,
    probe,
)
from vshare.listening import Listener, Listening
from vshare.machine import ForwardedPort, Machine, Source
from vshare.reach import Reach
from vshare.reach_direct import DirectReach
from vshare.reach_ssh import SshReach
from vshare.ssh_link import SshLink

MACHINE = Machine("web", "test", "running", "127.0.0.1", Source.TARGET)


async def http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
    writer.close()


async def banner(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"SSH-2.0-test\r\n")
    await reader.read()
    writer.close()


async def silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
    writer.close()


async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            writer.write(b"x" * 65536)
            await writer.drain()
    except ConnectionError:
        pass


@asynccontextmanager
async def https(tmp_path: Path) -> AsyncIterator[int]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "nobody.invalid")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    pem = tmp_path / "server.pem"
    pem.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    server = await asyncio.start_server(http, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def ask(reach: Reach, *ports: tuple[int, bool]) -> ProbeResult:
    return await probe(reach, [Candidate(port, tls, Origin.LISTENING) for port, tls in ports])


def test_only_what_speaks_http_counts(tmp_path: Path) -> None:
    async def main() -> None:
        async with (
            tcp_server(http) as web,
            tcp_server(banner) as ssh,
            tcp_server(silence) as mute,
            tcp_server(endless) as noise,
            https(tmp_path) as secure,
            DirectReach("127.0.0.1") as reach,
        ):
            closed = free_port()
            result = await ask(
                reach,
                *((web, False), (ssh, False), (mute, False), (noise, False), (closed, False)),
                *((secure, True), (ssh, True)),
            )
            outcome = {
                (each.candidate.port, each.candidate.tls): each.outcome for each in result.attempts
            }
            assert outcome == {
                (web, False): "HTTP status 404",
                (ssh, False): "does not speak HTTP",
                (mute, False): "no answer in 2 s",
                (noise, False): "does not speak HTTP",
                (closed, False): "connection refused",
                (secure, True): "HTTP status 404",
                (ssh, True): "does not speak HTTP",
            }
            assert (result.http_port, result.https_port) == (web, secure)

    asyncio.run(main())


@pytest.mark.programs
def test_through_ssh(tmp_path: Path) -> None:
    async def main() -> None:
        async with (
            tcp_server(http) as web,
            https(tmp_path) as secure,
            SshLink(sshd.access) as link,
            SshReach(link) as reach,
        ):
            result = await ask(reach, (web, False), (secure, True), (free_port(), False))
            assert (result.http_port, result.https_port) == (web, secure)

    with openssh(tmp_path) as sshd:
        asyncio.run(main())


def test_candidates() -> None:
    heard = Listening(
        (
            Listener("tcp", 22, "0.0.0.0", "sshd"),
            Listener("tcp", 2200, "0.0.0.0", "dropbear"),
            Listener("tcp", 80, "0.0.0.0", "nginx"),
            Listener("tcp", 443, "0.0.0.0", "nginx"),
            Listener("tcp", 5432, "127.0.0.1", "postgres"),
            Listener("udp", 53, "0.0.0.0", "dns"),
        )
    )
    assert [(each.port, each.tls) for each in candidates(MACHINE, heard)] == [
        (80, False),
        (443, True),
    ]
    named = candidates(MACHINE, heard, http=8000)
    assert [(each.port, each.tls) for each in named] == [(8000, False), (443, True)]
    assert named[0].origin is Origin.NAMED

    deaf = Listening(unknown="no SSH")
    forwarded = Machine(
        "web", "x", "running", None, Source.VAGRANT, forwarded=(ForwardedPort(8888, 18888),)
    )
    ports = {each.port for each in candidates(forwarded, deaf)}
    assert ports == {80, 3000, 4567, 8000, 8080, 443, 8443, 8888}


def test_what_rules_the_machine_is_not_asked_unless_it_is_named() -> None:
    heard = Listening(
        (
            Listener("tcp", 2375, "::", "dockerd"),
            Listener("tcp", 4000, "::", "dockerd"),
            Listener("tcp", 9200, "::", "java"),
            Listener("tcp", 9201, "::", "java"),
        )
    )
    assert [each.port for each in candidates(MACHINE, heard)] == [9201]
    assert [each.port for each in candidates(MACHINE, heard, ports=(9200, 22))] == [9200, 9201]
    assert [each.port for each in candidates(MACHINE, heard, http=2375)] == [2375]
    assert [each.port for each in candidates(MACHINE, heard, loopback=(9200,))] == [9201, 9200]


def test_what_is_allowed_is_asked_beside_what_is_named() -> None:
    heard = Listening((Listener("tcp", 8080, "::", "x"), Listener("tcp", 8081, "::", "x")))
    found = candidates(MACHINE, heard, http=80, ports=(8081, 8082, 80))
    assert [each.port for each in found] == [80, 8081, 8082]


def test_https_at_a_port_of_its_own(tmp_path: Path) -> None:
    async def main() -> None:
        async with https(tmp_path) as secure, DirectReach("127.0.0.1") as reach:
            result = await ask(reach, (secure, False))
            assert (result.http_port, result.https_port) == (None, secure)
            # Named as HTTP: it is not to be something else.
            named = await probe(reach, [Candidate(secure, False, Origin.NAMED)])
            assert named.https_port is None

    run(main)


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"no"])
def test_what_refuses_http_and_has_no_tls(answer: bytes) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        writer.write(answer)
        writer.close()

    async def main() -> None:
        async with tcp_server(refuse) as port, DirectReach("127.0.0.1") as reach:
            result = await ask(reach, (port, False))
            assert result.http_port == (port if answer[:1] == b"H" else None)
            assert result.https_port is None

    run(main)


def test_all_that_answer_are_known_when_a_favourite_has_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http_probe, "PROBE_TIMEOUT_SECONDS", 0.2)
    silent = 0

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(0.05)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        writer.close()

    async def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal silent
        silent += 1
        await silence(reader, writer)

    async def main() -> None:
        async with (
            tcp_server(http) as web,
            tcp_server(slow) as other,
            tcp_server(count) as mute,
            DirectReach("127.0.0.1") as reach,
        ):
            wanted = [Candidate(port, False, Origin.LISTENING) for port in (other, mute)]
            result = await probe(reach, [Candidate(web, False, Origin.NAMED), *wanted])
            assert result.http_port == web
            assert {each.port for each in result.spoken} == {web, other}
            assert silent == 1  # it is not asked again

    run(main)


def test_the_wait_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_probe, "PROBE_WITHIN_SECONDS", 0.1)

    async def main() -> None:
        async with (
            tcp_server(http) as web,
            tcp_server(silence) as mute,
            DirectReach("127.0.0.1") as reach,
        ):
            result = await ask(reach, (web, False), (mute, False))
            assert result.http_port == web
            assert {each.outcome for each in result.attempts} == {
                "HTTP status 404",
                "not waited for",
            }

    run(main)


def test_the_error_says_what_was_tried() -> None:
    async def main() -> None:
        result = await ask(DirectReach("127.0.0.1"), (closed, False))
        error = no_http_error(MACHINE, result)
        assert f"{closed}: connection refused" in error.text
        for remedy in ("0.0.0.0", "--http", "--loopback", "--disable-http"):
            assert remedy in error.hint

    closed = free_port()
    asyncio.run(main())
    assert "nothing listens" in no_http_error(MACHINE, ProbeResult(())).text


def test_port_80_is_preferred_then_the_lowest() -> None:
    def result(*ports: int) -> ProbeResult:
        return ProbeResult(
            tuple(Attempt(Candidate(p, False, Origin.COMMON), 200, "") for p in ports)
        )

    assert result(8080, 3000).http_port == 3000
    assert result(79, 80).http_port == 80
    assert result().http_port is None


def test_what_was_named_is_the_main_site_or_there_is_none() -> None:
    named = Candidate(8000, False, Origin.NAMED)
    other = Attempt(Candidate(80, False, Origin.EXPLICIT), 200, "")
    assert ProbeResult((Attempt(named, 200, ""), other)).http_port == 8000
    assert ProbeResult((Attempt(named, None, ""), other)).http_port is None
