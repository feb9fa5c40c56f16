"""The relay gets its certificate from an authority, and renews it in time."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
import logging
import re
import socket
import ssl
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from relay import acme
from relay.acme import AcmeCertificate
from relay.acme_proofs import DnsHook, HttpProof
from relay.certificate import LASTS, ServerIdentity, read_identity
from relay.certificate_files import ShownIdentity
from relay.config import AcmeConfig, RelayConfig
from relay.server import Relay
from tests.loops import run
from tests.ports import refusing
from tests.relay.acme_server import CHALLENGES, PEBBLE, AcmeServer, acme_server
from tests.relay.test_certificate_files import certificate_at, pair
from tunnel.errors import VshareError
from tunnel.identity import fingerprint

DOMAIN = "relay.example"
BOTH = [DOMAIN, f"*.{DOMAIN}"]
PAGES = "pages.example"
NOW = datetime.datetime.now(datetime.UTC)
DAY = datetime.timedelta(days=1)
needs_pebble = pytest.mark.skipif(not (PEBBLE and CHALLENGES), reason="pebble is not installed")


class Server:
    """An authority without a network: `fails` times, then certificates for `names`."""

    def __init__(self, fails: int = 0, content: bytes | None = None) -> None:
        self.asked = 0
        self.fails, self.content = fails, content

    async def certify(self, names: list[str]) -> bytes:
        self.asked += 1
        if self.asked <= self.fails:
            raise VshareError("no certificate from there", "wait")
        return pair() if self.content is None else self.content


def certificate_of(path: Path, server: Server) -> tuple[AcmeCertificate, ShownIdentity]:
    pem = pair()
    shown = ShownIdentity(ServerIdentity(pem, pem))
    return AcmeCertificate(path, BOTH, shown, server.certify), shown


async def run_until_tried(certificate: AcmeCertificate) -> None:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(certificate.run())
        await certificate.tried.wait()
        task.cancel()


def test_it_is_got_kept_and_not_asked_for_again(tmp_path: Path) -> None:
    path = tmp_path / "relay.pem"

    async def main() -> None:
        server = Server()
        certificate, shown = certificate_of(path, server)
        before = shown.current
        await run_until_tried(certificate)
        assert shown.current is not before
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        again, shown_again = certificate_of(path, server)
        assert shown_again.current.fingerprint == shown.current.fingerprint
        await run_until_tried(again)
        assert server.asked == 1

    run(main)


@pytest.mark.parametrize(
    ("age", "domain", "due"),
    [
        (LASTS / 2, DOMAIN, False),
        (LASTS * 0.65, DOMAIN, False),
        (LASTS * 0.68, DOMAIN, True),
        (LASTS * 1.1, DOMAIN, True),
        (DAY, "other.example", True),
    ],
)
def test_when_it_is_due(tmp_path: Path, age: datetime.timedelta, domain: str, due: bool) -> None:
    path = tmp_path / "relay.pem"
    path.write_bytes(pair(NOW - age, domain))
    certificate, _ = certificate_of(path, Server())
    assert (certificate.due_in(NOW) == 0) is due


def test_failures_are_told_and_tried_again_less_and_less_often(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 9:
            raise asyncio.CancelledError

    monkeypatch.setattr("relay.acme.asyncio.sleep", sleep)

    async def main() -> None:
        server = Server(fails=8)
        certificate, shown = certificate_of(tmp_path / "relay.pem", server)
        before = shown.current
        with pytest.raises(asyncio.CancelledError):
            await certificate.run()
        assert server.asked == 9
        assert shown.current is not before

    run(main)
    assert pauses[:3] == [900, 1800, 3600]
    assert pauses[6:] == [acme.LONGEST_PAUSE, acme.LONGEST_PAUSE, acme.LOOK_EVERY]
    assert "no certificate from there; wait. Tried again in 15 minutes" in caplog.text


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "is no certificate"),
        (pair()[:500], "is no certificate"),
        pytest.param(
            pair(domain="other.example"),
            r"is not for relay.example and \*.relay.example",
            id="other-names",
        ),
        (pair(NOW - LASTS - 2 * DAY), "has expired"),
    ],
)
def test_what_is_no_use_is_not_used(
    tmp_path: Path, content: bytes, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)

    async def main() -> None:
        certificate, shown = certificate_of(tmp_path / "relay.pem", Server(content=content))
        before = shown.current
        with pytest.raises(VshareError, match=text):
            await certificate._renew()
        await run_until_tried(certificate)
        assert shown.current is before
        assert not certificate.file.exists()

    run(main)
    assert len(caplog.records) == 1
    caplog.clear()
    assert caplog.text == ""


def test_a_file_that_was_spoilt_is_asked_for_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "relay.pem"
    path.write_bytes(b"half")

    async def main() -> None:
        certificate, _ = certificate_of(path, Server())
        await run_until_tried(certificate)

    run(main)
    assert "another is asked for" in caplog.text
    assert not read_identity(path, None).lacks(BOTH)


def test_one_that_cannot_be_kept_is_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        certificate, shown = certificate_of(tmp_path / "none" / "relay.pem", Server())
        before = shown.current
        await run_until_tried(certificate)
        assert shown.current is not before

    run(main)
    assert "cannot be kept" in caplog.text


def test_the_library_is_for_who_wants_it() -> None:
    for path in Path(acme.__file__).parent.glob("*.py"):
        lines = re.findall(
            r"^(?:from|import) (?:acme|requests|relay\.acme_authority)\b", path.read_text(), re.M
        )
        assert bool(lines) == (path.name == "acme_authority.py"), path


def test_without_the_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "relay.acme_authority", None)
    pem = pair()
    shown = ShownIdentity(ServerIdentity(pem, pem))
    with pytest.raises(VshareError, match="a package that is not installed") as info:
        acme.acme_certificate(AcmeConfig("a@b.c"), tmp_path, BOTH, shown, HttpProof())
    assert "vshare[acme]" in info.value.hint


@pytest.mark.parametrize("program", [None, Path("/bin/true")])
def test_the_names_that_are_asked_for(tmp_path: Path, program: Path | None) -> None:
    pem, start = pair(), RelayConfig(domain=DOMAIN.upper(), pages_host=PAGES)
    shown, settings = ShownIdentity(ServerIdentity(pem, pem)), AcmeConfig("a@b.c", dns_hook=program)
    certificate = acme.acme_certificate(settings, tmp_path, start.names, shown, HttpProof())
    assert certificate._names == ([*BOTH, PAGES] if program else [DOMAIN, PAGES])
    assert certificate.file.name == f"{DOMAIN}.pem"
    assert RelayConfig(domain=DOMAIN).names == BOTH


def hook(tmp_path: Path, script: str) -> DnsHook:
    path = tmp_path / "hook"
    path.write_text("#!/bin/sh\n" + script)
    path.chmod(0o700)
    return DnsHook(path)


@pytest.mark.parametrize(
    ("script", "text"),
    [
        ("echo no such zone >&2; exit 3", r"present _acme-challenge\.a\. v: no such zone"),
        ("exit 3", "ended with status 3"),
        ("exec sleep 60", r"was not done in 0\.1 seconds"),
    ],
)
def test_a_hook_that_fails(
    tmp_path: Path, script: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relay.acme_proofs.PRESENT_WITHIN", 0.1 if "sleep" in script else 10)

    async def main() -> None:
        with pytest.raises(VshareError, match=text):
            await hook(tmp_path, script).present("_acme-challenge.a.", "v")

    run(main)


def test_a_hook_that_is_none(tmp_path: Path) -> None:
    async def main() -> None:
        with pytest.raises(VshareError, match="No such file"):
            await DnsHook(tmp_path / "none").clear("_acme-challenge.a.", "v")

    run(main)


def test_values_are_there_as_long_as_they_are_needed() -> None:
    async def main() -> None:
        proof = HttpProof()
        await proof.present("/.well-known/acme-challenge/a", "v")
        assert proof.values == {"/.well-known/acme-challenge/a": "v"}
        await proof.clear("/.well-known/acme-challenge/a", "v")
        await proof.clear("/.well-known/acme-challenge/a", "v")
        assert not proof.values

    run(main)


# -- with an authority of flesh and blood


@pytest.fixture
def deaf_port() -> Iterator[int]:
    """One that nobody listens on, nor will."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[AcmeServer]:
    with acme_server(tmp_path) as found:
        trust(found, monkeypatch)
        yield found


def trust(server: AcmeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(server.trusted))


def config(tmp_path: Path, server: AcmeServer, hook: Path | None, *ports: int) -> RelayConfig:
    return RelayConfig(
        domain=DOMAIN,
        state_dir=tmp_path / "state",
        acme=AcmeConfig("op@relay.example", server.directory, hook),
        more_places=tuple(("127.0.0.1", port) for port in ports),
    )


@needs_pebble
@pytest.mark.programs
def test_dns_01_is_for_the_domain_and_all_below_it(tmp_path: Path, server: AcmeServer) -> None:
    async def main() -> None:
        start = config(tmp_path, server, server.hook)
        async with Relay(start) as relay:
            await relay.settled()
            assert relay.address.fingerprint is None
            browser = ssl.create_default_context(cadata=server.root())
            for name in (DOMAIN, f"frosty-weasel-0857.{DOMAIN}"):
                shown = await certificate_at(relay.port, browser, name)
                assert fingerprint(shown) == relay.fingerprint
            for name in ("other.example", f"a.b.{DOMAIN}"):
                with pytest.raises(ssl.SSLCertVerificationError):
                    await certificate_at(relay.port, browser, name)
        folder = tmp_path / "state" / "acme" / server.directory.split("/")[2].replace(":", "_")
        identity = read_identity(folder / f"{DOMAIN}.pem", None)
        assert identity.der == shown
        assert not identity.lacks(BOTH)
        name = f"_acme-challenge.{DOMAIN}."
        assert (
            server.log.read_text().splitlines() == [f"present {name}"] * 2 + [f"cleanup {name}"] * 2
        )
        async with Relay(start) as relay:  # it is kept
            assert fingerprint(shown) == relay.fingerprint
            assert relay._acme is not None
            await relay._acme._renew()  # by the account that is there, while it serves
            assert fingerprint(await certificate_at(relay.port)) == relay.fingerprint
            assert fingerprint(shown) != relay.fingerprint

    run(main)


@needs_pebble
@pytest.mark.programs
def test_http_01_is_for_the_relays_own_names_alone(tmp_path: Path, server: AcmeServer) -> None:
    async def main() -> None:
        start = config(tmp_path, server, None, server.http_port)
        async with Relay(dataclasses.replace(start, pages_host=PAGES)) as relay:
            await relay.settled()
            own = await certificate_at(relay.port)
            assert fingerprint(own) == relay.fingerprint
            browser = ssl.create_default_context(cadata=server.root())
            for name in (DOMAIN, PAGES):
                assert await certificate_at(relay.port, browser, name) == own
            site = await certificate_at(relay.port, name=f"frosty-weasel-0857.{DOMAIN}")
            assert site != own
            assert not relay._proof.values

    run(main)


@needs_pebble
@pytest.mark.programs
def test_an_authority_that_cannot_look(
    tmp_path: Path,
    deaf_port: int,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing is at port 80: the relay says so and serves on, with what it made itself."""

    async def main() -> None:
        with acme_server(tmp_path, deaf_port) as server:
            trust(server, monkeypatch)
            async with Relay(config(tmp_path, server, None)) as relay:
                await relay.settled()
                assert fingerprint(await certificate_at(relay.port)) == relay.fingerprint

    run(main)
    assert "connection refused" in caplog.text
    assert "--listen HOST:80" in caplog.text


def test_an_authority_that_is_not_there(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    there = AcmeConfig("op@relay.example", f"https://127.0.0.1:{refusing()}/dir")

    async def main() -> None:
        start = RelayConfig(domain=DOMAIN, state_dir=tmp_path / "state", acme=there)
        async with Relay(start) as relay:
            await relay.settled()

    run(main)
    assert "it cannot be reached" in caplog.text
