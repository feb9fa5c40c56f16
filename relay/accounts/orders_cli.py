"""`vrelay name`, `vrelay ban` and `vrelay unban`: what the operator reserves, and whom it bars."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import click

from relay.accounts.bans import Ban, Kind
from relay.accounts.book import account_book
from relay.accounts.common_options import common, state_directory
from relay.accounts.orders import Orders
from tunnel.command import print_table
from tunnel.console import Console
from tunnel.errors import UsageError

LIST = "list"
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_SPAN = re.compile(r"([0-9]{1,6})([smhdw])")
_WHAT = "ADDRESS|CIDR|TOKEN|NAME"


@contextmanager
def _orders(state_dir: Path | None) -> Iterator[Orders]:
    with account_book(state_directory(state_dir)) as book:
        yield Orders(book)


@click.group()
def name() -> None:
    """Names that shares of one user alone may have."""


@name.command("reserve")
@click.argument("reserved", metavar="NAME")
@click.option("--user", "owner", required=True, metavar="NAME", help="Whose it is.")
@common
def reserve_name(reserved: str, owner: str, state_dir: Path | None, as_json: bool) -> None:
    """Keep NAME for a user; acme-* keeps all names that begin so.

    Another's share that has it goes on until it ends, or until a share of the user's wants it.
    """
    with _orders(state_dir) as orders:
        orders.reserve(reserved, owner, time.time())
    console = Console("relay", as_json=as_json)
    console.event(name=reserved, user=owner)
    console.step(f"The name {reserved} is for {owner} alone.")


@name.command("list")
@common
def list_names(state_dir: Path | None, as_json: bool) -> None:
    """Which are reserved, and for whom."""
    with _orders(state_dir) as orders:
        names = orders.names()
    Console("relay", as_json=as_json).event(
        names=[{"name": n.name, "user": n.user, "created_at": n.created_at} for n in names]
    )
    if as_json:
        return
    if not names:
        click.echo("no name is reserved: `vrelay name reserve NAME --user NAME` does it", err=True)
    print_table((each.name, each.user) for each in names)


@name.command("free")
@click.argument("reserved", metavar="NAME")
@common
def free_name(reserved: str, state_dir: Path | None, as_json: bool) -> None:
    """Let anybody have NAME again."""
    with _orders(state_dir) as orders:
        orders.free(reserved)
    console = Console("relay", as_json=as_json)
    console.event(name=reserved)
    console.step(f"The name {reserved} is anybody's.")


@click.command()
@click.argument("what", metavar=f"{_WHAT}|list")
@click.option("--for", "span", metavar="SPAN", help="30m, 12h, 1d, 2w [until `vrelay unban`].")
@click.option("--reason", default="", metavar="TEXT", help="Whose share is ended reads it.")
@common
def ban(what: str, span: str | None, reason: str, state_dir: Path | None, as_json: bool) -> None:
    """Serve an address, a network, a token or a name no more; `ban list` shows what is banned.

    A relay that runs knows within a second: what is there ends, and connections from banned
    addresses are closed before anything is read of them. IPv6 addresses count as their /64.
    """
    now = time.time()
    with _orders(state_dir) as orders:
        if what == LIST:
            _show(orders.bans(now), as_json=as_json)
            return
        made = orders.ban(what, reason, None if span is None else now + _parse_span(span), now)
    console = Console("relay", as_json=as_json)
    console.event(**_fields(made))
    console.step(f"The {made.kind.value} {made.what} is banned {_until(made)}.")
    if made.kind is Kind.NAME:
        console.detail("It is a share's name, if that was not meant for a token's ID.")


@click.command()
@click.argument("what", metavar=_WHAT)
@common
def unban(what: str, state_dir: Path | None, as_json: bool) -> None:
    """Serve it again."""
    with _orders(state_dir) as orders:
        was = orders.unban(what)
    console = Console("relay", as_json=as_json)
    console.event(**_fields(was))
    console.step(f"The {was.kind.value} {was.what} is banned no more.")


def _show(bans: list[Ban], *, as_json: bool) -> None:
    Console("relay", as_json=as_json).event(bans=[_fields(each) for each in bans])
    if as_json:
        return
    if not bans:
        click.echo(f"nobody is banned: `vrelay ban {_WHAT}` does it", err=True)
    print_table((each.kind.value, each.what, _until(each), each.reason) for each in bans)


def _fields(ban: Ban) -> dict[str, object]:
    return {"kind": ban.kind.value, "what": ban.what, "until": ban.until, "reason": ban.reason}


def _until(ban: Ban) -> str:
    """In UTC, as an operator's logs have it."""
    if ban.until is None:
        return "until `vrelay unban`"
    return datetime.fromtimestamp(ban.until, UTC).strftime("until %Y-%m-%d %H:%M UTC")


def _parse_span(text: str) -> float:
    """Seconds. Raises UsageError."""
    found = _SPAN.fullmatch(text.strip())
    if found is None or not int(found[1]):
        raise UsageError(f"not a span of time: {text[:20]!r}", "write one like 30m, 12h, 1d, 2w")
    return float(int(found[1]) * _SECONDS[found[2]])


ORDERS: tuple[click.Command, ...] = (name, ban, unban)
