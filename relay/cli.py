"""`vrelay`: run a relay."""

from __future__ import annotations

import asyncio
import ipaddress
import itertools
import os
import re
import signal
import sys
from pathlib import Path
from typing import NoReturn

import click

from relay.accounts.cli import COMMANDS, state_directory
from relay.config import DEFAULT_PORT, LETS_ENCRYPT, AcmeConfig, RelayConfig
from relay.server import Relay
from tunnel.address import parse_host_port
from tunnel.command import run_command
from tunnel.console import Console, Interrupt, run
from tunnel.errors import UsageError, VshareError

_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_HOST = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*")  # RFC 1123 2.1


@click.group(no_args_is_help=False, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="vshare", prog_name="vrelay")
def cli() -> None:
    """Run a relay: the meeting point of those who share machines and those who connect."""


@cli.command()
@click.option(
    "--listen",
    metavar="HOST:PORT",
    default=(f"127.0.0.1:{DEFAULT_PORT}",),
    show_default=True,
    multiple=True,
    help="Where to listen; 0.0.0.0:443 or [::]:443 for everybody. May be given again: :80 as well.",
)
@click.option(
    "--domain",
    default="localhost",
    show_default=True,
    help="Shares get the URLs NAME.DOMAIN; point DOMAIN and *.DOMAIN here.",
)
@click.option(
    "--pages-host",
    metavar="HOST",
    help="The one name with pages of the relay's own; point it here, too. Best where no"
    " cookie can reach both: not under one registered domain with DOMAIN.",
)
@click.option(
    "--public-port",
    type=click.IntRange(1, 65_535),
    help="The port that URLs show, when it is not the one listened on.",
)
@click.option(
    "--cert",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Certificate chain (PEM) for DOMAIN and *.DOMAIN; without it one is made and kept.",
)
@click.option(
    "--key",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Private key (PEM) of --cert, when it is in another file.",
)
@click.option(
    "--acme",
    metavar="EMAIL",
    help="Get the certificate from Let's Encrypt, whose terms you agree to, and renew it; EMAIL is"
    " told of problems. For DOMAIN alone (they look at its port 80), unless there is a hook.",
)
@click.option(
    "--acme-dns-hook",
    metavar="PROGRAM",
    type=click.Path(
        path_type=Path, exists=True, dir_okay=False, executable=True, resolve_path=True
    ),
    help="Changes DNS records, so that the certificate is for *.DOMAIN too: called with present or"
    " cleanup, the name and the value of a TXT record (as by lego's exec provider).",
)
@click.option(
    "--acme-server",
    metavar="URL",
    help="The ACME directory of another authority than Let's Encrypt.",
)
@click.option(
    "--state-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where names, accounts and self-made keys are kept.",
)
@click.option(
    "--open/--accounts",
    "is_open",
    default=None,
    help="Everybody may share here, or who has a token (see `vrelay token`). It is open where it"
    " listens on loopback alone, else not, unless you say so.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
@click.option("-v", "--verbose", is_flag=True, help="Log what happens.")
def serve(
    listen: tuple[str, ...],
    domain: str,
    pages_host: str | None,
    public_port: int | None,
    cert: Path | None,
    key: Path | None,
    acme: str | None,
    acme_dns_hook: Path | None,
    acme_server: str | None,
    state_dir: Path | None,
    is_open: bool | None,
    as_json: bool,
    verbose: bool,
) -> None:
    """Serve until Ctrl-C. SIGHUP reads the files of --cert and --key again."""
    console = Console("relay", as_json=as_json, verbose=verbose)
    (host, port), *more = (_parse_listen(each) for each in listen)
    domain = domain.rstrip(".").lower()
    pages_host = (pages_host or "").rstrip(".").lower()
    if pages_host:
        _check_pages_host(pages_host, domain)
    if key is not None and cert is None:
        raise UsageError("--key was given without --cert", "give both, or neither")
    if acme is None and (acme_dns_hook or acme_server):
        raise UsageError("there is no --acme for --acme-dns-hook or --acme-server", "add it")
    if acme_server is not None and not acme_server.startswith("https://"):
        raise UsageError(f"not a URL of https: {acme_server!r}", "--acme-server takes one")
    if acme is not None:
        _check_acme(acme, domain, cert)
    config = RelayConfig(
        host=host,
        port=port,
        domain=domain,
        public_port=public_port,
        certificate=cert,
        key=key,
        state_dir=state_directory(state_dir),
        acme=AcmeConfig(acme, acme_server or LETS_ENCRYPT, acme_dns_hook) if acme else None,
        more_places=tuple(more),
        pages_host=pages_host,
        accounts=not (_only_here(host, *more) if is_open is None else is_open),
    )
    sys.exit(run(console, lambda interrupt: _serve(config, console, interrupt)))


def _only_here(first: str, *more: tuple[str, int]) -> bool:
    """Whether nobody but this host's programs reaches these hosts."""
    hosts = (first, *(host for host, _ in more))
    return all(map(_is_loopback, hosts))


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _check_acme(email: str, domain: str, cert: Path | None) -> None:
    if cert is not None:
        raise UsageError("--acme and --cert were both given", "choose one of them")
    if "@" not in email.strip("@"):
        raise UsageError(f"not an address: {email!r}", "--acme takes the address of a mailbox")
    if "." not in domain or domain.rpartition(".")[2].isdigit():
        raise UsageError(
            f"no authority gives a certificate for {domain!r}",
            "--domain names the domain that leads here",
        )


def _check_pages_host(host: str, domain: str) -> None:
    """Raise UsageError unless a site of a share's is neither at `host` nor below it."""
    if not _HOST.fullmatch(host) or host.rpartition(".")[2].isdigit():
        raise UsageError(f"not a host for --pages-host: {host[:60]!r}", "give a name, without port")
    if host == domain or host.endswith(f".{domain}"):
        raise UsageError(
            f"--pages-host {host} is in the domain of the shares, {domain}",
            "give a name outside of it: what is in it is for shares",
        )
    if domain.endswith(f".{host}"):
        raise UsageError(
            f"--pages-host {host} is above the domain of the shares, {domain}",
            "give another name: shares' sites can set cookies for all that is above theirs",
        )


def _common(host: str, domain: str) -> str:
    """The domain that both are in; empty where that is at most a top-level one."""
    pairs = zip(reversed(host.split(".")), reversed(domain.split(".")), strict=False)
    common = [one for one, _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs)]
    return ".".join(reversed(common)) if len(common) > 1 else ""


def _parse_listen(text: str) -> tuple[str, int]:
    """HOST:PORT, where port 0 means any. Raises UsageError."""
    if text.endswith(":0"):
        return parse_host_port(text[:-2], DEFAULT_PORT)[0], 0
    return parse_host_port(text, DEFAULT_PORT)


async def _serve(config: RelayConfig, console: Console, interrupt: Interrupt) -> None:
    async with Relay(config) as relay:
        if config.acme is not None:
            with console.busy(f"Asking {config.acme.server} for a certificate"):
                await relay.settled()
            if config.acme.dns_hook is None:
                console.detail(
                    "Sites of shares have a certificate that the relay made, which browsers warn"
                    " of: --acme-dns-hook, or --cert, gives them one that is known."
                )
        if common := _common(config.pages_host, relay.domain):
            console.detail(
                f"Sites of shares can set cookies for {common}, which reach {config.pages_host},"
                " unless that is a public suffix."
            )
        if console.as_json:
            console.event(
                event="serving",
                relay=str(relay.address),
                fingerprint=relay.fingerprint,
                domain=relay.domain,
                pages_host=config.pages_host or None,
                accounts=config.accounts,
            )
        else:
            click.echo(f"relay address: {relay.address}")
            if config.accounts:
                console.detail("Who shares needs a token: `vrelay token create` makes them.")
        _reload_on_hangup(relay, console, interrupt)
        interrupt.serving = True
        await interrupt.stopped.wait()


def _reload_on_hangup(relay: Relay, console: Console, interrupt: Interrupt) -> None:
    """SIGHUP reads the certificate again, but for that of a terminal that was closed."""
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # nohup(1)
        return
    had_terminal = _has_terminal()

    def hung_up() -> None:
        if had_terminal and not _has_terminal():
            interrupt.stopped.set()
            return
        try:
            console.step(relay.reload())
        except VshareError as error:
            console.warn(f"{error.text}; the relay goes on with the certificate that it has")

    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, hung_up)


def _has_terminal() -> bool:
    """Whether the process has a controlling terminal: the kernel takes it away with a hang-up."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True


for command in COMMANDS:
    cli.add_command(command)


def main() -> NoReturn:
    """The console script."""
    run_command(cli, "vrelay", "relay")


if __name__ == "__main__":
    main()
