"""`vshare domain`: a domain of the sharer's own that leads to a share which runs (--own-domain)."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict

import click
import msgspec

from tunnel.console import EXIT_INTERRUPTED, Console
from tunnel.errors import VshareError
from tunnel.own_domains import OwnDomain, parse_own_domain
from tunnel.running import Running
from vshare import own_domain_requests as requests
from vshare.cli_running import of_a_share
from vshare.durations import parse_patience
from vshare.own_domains import DomainRow
from vshare.running import choose_share
from vshare.share_file import FILE

LOOK_EVERY = 0.5  # seconds between questions to the share, which hears of each change at once


@click.group()
def domain() -> None:
    """Domains of your own that lead to a share which runs."""


@domain.command()
@click.argument("host", type=parse_own_domain)
@click.option("--no-wait", is_flag=True, help="say which records it needs, and go")
@click.option(
    "--timeout",
    "within",
    type=parse_patience,
    metavar="TIME",
    help="wait no longer than that [until it leads here]",
)
@of_a_share
def add(
    host: OwnDomain, no_wait: bool, within: float | None, share: str | None, as_json: bool
) -> None:
    """Let HOST lead to the share, and wait until its DNS proves that it is yours.

    The share goes on waiting where this command does not.
    """
    chosen = choose_share(share)
    row = _shown(chosen.ask(requests.AddDomain(host), requests.OneDomain).domain)
    console = Console(chosen.name, as_json=as_json)
    if no_wait:
        _show(console, row)
        for line in () if row.records else row.wanted_records:
            console.detail(line)
    else:
        _wait(chosen, console, host, None if within is None else time.monotonic() + within)
    console.detail(f'At the next start: --own-domain {host}, or own-domain = ["{host}"] in {FILE}')


def _wait(share: Running, console: Console, host: OwnDomain, until: float | None) -> None:
    """Until the domain leads to the share. Raises VshareError; ends the process after Ctrl-C."""
    shown: DomainRow | None = None
    try:
        with console.busy(f"Waiting for the DNS of {host}"):
            while True:
                row = _find(share, host)
                if row != shown and row.state:
                    _show(console, row)
                    shown = row
                if row.state == "good":
                    return
                if row.state == "refused":
                    share.ask(requests.RemoveDomain(host), requests.OneDomain)
                    raise VshareError(row.sentence, "name another domain, or see to the reason")
                if until is not None and time.monotonic() >= until:
                    raise VshareError(
                        f"waited in vain: {_why_not(row)}",
                        "the share goes on looking: `vshare domain list` shows how it is",
                    )
                time.sleep(LOOK_EVERY)
    except KeyboardInterrupt:
        console.step(f"The share goes on looking for {host}: `vshare domain list` shows how it is.")
        console.detail(f"`vshare domain remove {host}` ends that.")
        sys.exit(EXIT_INTERRUPTED)


def _find(share: Running, host: OwnDomain) -> DomainRow:
    rows = share.ask(requests.Domains(), requests.DomainList).domains
    for row in rows:
        if row.domain == host:
            return _shown(row)
    raise VshareError(f"{host} was removed from the share", "add it again with `vshare domain add`")


def _why_not(row: DomainRow) -> str:
    """What was missing to the last."""
    match row.state:
        case "":
            return f"the relay has said nothing of {row.domain} yet"
        case "unproven":
            return f"the DNS of {row.domain} has no such record yet"
        case _:
            return row.sentence


@domain.command()
@click.argument("host", type=parse_own_domain)
@of_a_share
def remove(host: OwnDomain, share: str | None, as_json: bool) -> None:
    """Let HOST lead to the share no more."""
    chosen = choose_share(share)
    done = chosen.ask(requests.RemoveDomain(host), requests.OneDomain)
    console = Console(chosen.name, as_json=as_json)
    console.event(share=chosen.name, removed=host)
    console.step(f"{host} leads here no more.")
    console.detail(f"Its records can go: the TXT at {done.domain.txt_name}, and what leads here")
    console.detail(f"Where --own-domain or {FILE} names it, the next start has it again.")


@domain.command("list")
@of_a_share
def list_domains(share: str | None, as_json: bool) -> None:
    """The domains of the share, how they are, and which records they need."""
    chosen = choose_share(share)
    found = chosen.ask(requests.Domains(), requests.DomainList)
    if as_json:
        Console(chosen.name, as_json=True).event(share=chosen.name, **msgspec.to_builtins(found))
        return
    count = len(found.domains)
    click.echo(f"{count} own {'domain' if count == 1 else 'domains'} of {chosen.name}")
    for row in map(_shown, found.domains):
        click.echo(f"  {row.sentence}")
        for line in row.records:
            click.echo(f"    {line}")


def _shown(row: requests.OwnDomainRow) -> DomainRow:
    return DomainRow(**msgspec.to_builtins(row))


def _show(console: Console, row: DomainRow) -> None:
    """How it is, and the records that it needs."""
    console.event(share=console.machine, **asdict(row))
    console.step(row.sentence)
    for line in row.records:
        console.detail(line)


COMMANDS: tuple[click.Command, ...] = (domain,)
