"""`vshare domain`: own domains of a share that runs, in this process, with a DNS of its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest
from click.testing import CliRunner, Result

from relay.config import RelayConfig
from relay.own_domains import claims
from relay.server import Relay
from tests.loops import until
from tests.relay.own_domains.dns_server import dns_server
from tests.relay.own_domains.world import DOMAIN, HOST, Zone
from tests.share_pair import tcp_service
from tests.vshare.test_share import Running, Web, own_directories, run, sharing
from tests.vshare.test_share_commands import ask
from tunnel.console import Console
from tunnel.errors import UsageError, VshareError
from tunnel.names import ShareName
from vshare import own_domain_requests as requests
from vshare.cli_domain import _wait, domain
from vshare.options import Options, PassthroughOptions
from vshare.own_domains import NOT_OFFERED
from vshare.requests import Rename, Renamed
from vshare.running import choose_share

__all__ = ["own_directories"]
NAME, NEW = ShareName("my-shop"), ShareName("other-shop")
SOON = 0.02  # seconds


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "_AGAIN", ())
    monkeypatch.setattr(claims, "AGAIN_LAST", SOON)
    monkeypatch.setattr("vshare.cli_domain.LOOK_EVERY", SOON)


@contextlib.asynccontextmanager
async def shop(name: str | None = NAME, **options: Any) -> AsyncIterator[tuple[Running, Zone]]:
    """A share with a site, at a relay with a domain."""
    zone = Zone()
    async with dns_server(zone.answers) as port, tcp_service(Web) as site:
        config = RelayConfig(domain=DOMAIN, resolvers=(("127.0.0.1", port),))
        async with Relay(config) as relay:
            made = Options(
                target="127.0.0.1",
                http_port=site,
                relay=str(relay.address),
                name=name,
                ask=False,
                **options,
            )
            async with sharing(made) as share:
                yield share, zone


async def command(*arguments: str) -> Result:
    """`vshare domain`, as in another terminal."""
    return await asyncio.to_thread(CliRunner().invoke, domain, arguments)


async def rows() -> list[requests.OwnDomainRow]:
    return (await ask(requests.Domains(), requests.DomainList)).domains


def told(share: Running) -> list[tuple[str, str]]:
    return [
        (str(each["event"]), str(each.get("state", "")))
        for each in share.screen.events
        if str(each["event"]).startswith("own-domain")
    ]


def test_it_comes_waits_until_it_is_proven_and_goes() -> None:
    async def main() -> None:
        async with shop() as (share, zone), asyncio.TaskGroup() as group:
            adding = group.create_task(command("add", HOST, "--json"))
            await until(lambda: ("own-domain", "unproven") in told(share))
            (row,) = await rows()
            assert row.cname == f"{NAME}.{DOMAIN}"
            assert not adding.done()
            zone.records[row.txt_name] = [row.txt_value]
            done = await adding
            assert done.exit_code == 0, done.output
            lines = [json.loads(line) for line in done.stdout.splitlines()]
            assert [each["state"] for each in lines] == ["unproven", "good"]
            assert lines[0]["txt_value"] == row.txt_value
            assert "warn of its certificate" in done.stderr
            listed = await command("list")
            assert f"1 own domain of {NAME}" in listed.stdout
            with pytest.raises(UsageError):
                raise_of(await command("add", HOST))
            assert (await command("remove", HOST, "--json")).stdout == (
                f'{{"share": "{NAME}", "removed": "{HOST}"}}\n'
            )
            assert not await rows()
            assert told(share)[-1] == ("own-domain-removed", "")
            with pytest.raises(VshareError):
                raise_of(await command("remove", HOST))

    run(main)


def raise_of(result: Result) -> None:
    """What the command raised, as its main would show it: with the exit code of it."""
    assert result.exit_code != 0
    assert isinstance(result.exception, VshareError)
    if result.exception.exit_code == 2:
        raise UsageError(result.exception.text)
    raise result.exception


def test_what_is_refused_is_taken_back_and_what_does_not_come_is_said() -> None:
    async def main() -> None:
        async with shop() as (share, _):
            with pytest.raises(VshareError, match=f"does not lead here: .*{DOMAIN}"):
                raise_of(await command("add", f"x.{DOMAIN}"))
            assert not await rows()
            assert (await command("add", HOST, "--no-wait")).exit_code == 0
            await until(lambda: ("own-domain", "unproven") in told(share))
            with pytest.raises(VshareError, match=r"waited in vain: the DNS of .* has no such"):
                await asyncio.to_thread(_wait, choose_share(None), Console("x"), HOST, 0.0)
            assert [each.state for each in await rows()] == ["unproven"]
            at_once = await command("add", "www.example.com", "--no-wait")
            assert at_once.exit_code == 0
            assert "_vshare-challenge.www.example.com. TXT" in at_once.stderr
            for number in range(6):
                await ask(requests.AddDomain(f"{number}.example.com"), requests.OneDomain)
            with pytest.raises(VshareError, match="no more are possible"):
                await ask(requests.AddDomain("last.example.com"), requests.OneDomain)

    run(main)


def test_under_another_name_it_stays_and_only_names_that_are_kept_have_any() -> None:
    async def main() -> None:
        async with shop(None) as (share, zone):
            with pytest.raises(VshareError, match="name was drawn"):
                await ask(requests.AddDomain(HOST), requests.OneDomain)
            await ask(Rename(NAME), Renamed)
            row = (await ask(requests.AddDomain(HOST), requests.OneDomain)).domain
            zone.records[row.txt_name] = [row.txt_value]
            await until(lambda: ("own-domain", "good") in told(share))
            await ask(Rename(NEW), Renamed)
            await until(lambda: f"{NEW}.{DOMAIN}" in str(share.screen.events))
            (after,) = await rows()
            assert (after.state, after.cname) == ("good", f"{NEW}.{DOMAIN}")

    run(main)


def test_a_share_without_url_and_a_relay_without_dns_have_none() -> None:
    async def main() -> None:
        async with sharing(Options(target="127.0.0.1", http=False, ask=False)):
            with pytest.raises(VshareError, match="no public URL"):
                await ask(requests.AddDomain(HOST), requests.OneDomain)
        async with tcp_service(Web) as port:
            options = Options(target="127.0.0.1", http_port=port, name=NAME, ask=False)
            async with sharing(options):
                with pytest.raises(VshareError, match=NOT_OFFERED[:30]):
                    await ask(requests.AddDomain(HOST), requests.OneDomain)

    run(main)


def test_browsers_whose_tls_ends_here_get_a_certificate_for_it() -> None:
    async def main() -> None:
        async with shop(passthrough=PassthroughOptions()) as (share, zone):
            row = (await ask(requests.AddDomain(HOST), requests.OneDomain)).domain
            zone.records[row.txt_name] = [row.txt_value]
            await until(lambda: ("own-domain", "good") in told(share))
            said = [str(each.get("text")) for each in share.screen.events]
            assert any(text.startswith(f"{HOST} has a certificate of its own") for text in said)
            (after,) = await rows()
            assert after.certificate == "share"

    run(main)


@pytest.mark.programs
def test_ctrl_c_ends_the_waiting_and_not_the_looking() -> None:
    async def main() -> None:
        async with shop() as (share, zone):
            arguments = ["-m", "vshare.cli", "domain", "add", HOST]
            process = await asyncio.create_subprocess_exec(
                sys.executable, *arguments, stderr=asyncio.subprocess.PIPE
            )
            assert process.stderr is not None
            line = b""
            while b"CNAME" not in line:  # it has said what it needs, and waits
                line = await process.stderr.readline()
                assert line
            process.send_signal(signal.SIGINT)
            said = await process.stderr.read()
            assert await process.wait() == 130
            assert b"The share goes on looking" in said
            (row,) = await rows()
            zone.records[row.txt_name] = [row.txt_value]
            await until(lambda: ("own-domain", "good") in told(share))

    run(main)
