"""The commands for a share that runs: who is there, who may come, until when.

They ask it through its control socket (vshare/running.py). Each takes --share NAME, which only
those with several shares need, and --json.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import click
import msgspec

from tunnel.address import parse_port
from tunnel.command import print_table
from tunnel.console import Console
from vshare import requests
from vshare.durations import describe_duration, parse_duration
from vshare.own_domains import DomainRow
from vshare.requests import GuestRow, InviteRow, Result, WaitingRow
from vshare.running import choose_share

EXTENDED_BY = 8 * 3600.0  # seconds from now: as long as a share lasts by itself

F = TypeVar("F", bound=Callable[..., None])


def of_a_share(command: F) -> F:
    """The options that all of these commands have."""
    as_json = click.option("--json", "as_json", is_flag=True, help="one JSON object on stdout")
    share = click.option("--share", metavar="NAME", help="which share, where several run")
    return share(as_json(command))


def _console(share: str, as_json: bool, result: Result) -> Console:
    """The screen, on which scripts have `result` already."""
    console = Console(share, as_json=as_json)
    console.event(share=share, **msgspec.to_builtins(result))
    return console


@click.command()
@of_a_share
def status(share: str | None, as_json: bool) -> None:
    """What is shared, where, and until when."""
    chosen = choose_share(share)
    state = chosen.ask(requests.Status(), requests.ShareState)
    if _console(chosen.name, as_json, state).as_json:
        return
    own = [DomainRow(**msgspec.to_builtins(row)) for row in state.own_domains]
    rows = [
        ("Name:", state.name),
        ("Machine:", state.machine),
        ("Relay:", state.relay),
        ("URL:", state.url or "none: for guests with the code only"),
        *(("Own domain:", line) for row in own for line in (row.sentence, *row.records)),
        *([("Requests:", f"{state.requests} by the URL")] if state.url else []),
        ("Others connect with:", f"vconnect {state.connect}"),
        ("Guests:", f"{state.guests}, who can open {state.shared}"),
        ("Ends:", _until(state.expires_at)),
    ]
    print_table(rows)


@click.command()
@of_a_share
def guests(share: str | None, as_json: bool) -> None:
    """Who is in, and who waits to be let in."""
    chosen = choose_share(share)
    found = chosen.ask(requests.Guests(), requests.GuestList)
    if _console(chosen.name, as_json, found).as_json:
        return
    click.echo(f"{_count(len(found.guests), 'guest')} of {chosen.name}")
    print_table(map(_guest_cells, found.guests))
    if found.waiting:
        click.echo("waiting for `vshare approve NAME` or `vshare deny NAME`:")
        print_table(map(_waiting_cells, found.waiting))


@click.command()
@click.argument("guest")
@of_a_share
def kick(guest: str, share: str | None, as_json: bool) -> None:
    """Remove GUEST, and end its connections."""
    chosen = choose_share(share)
    here = chosen.ask(requests.Guests(), requests.GuestList).guests
    done = chosen.ask(requests.Kick(guest), requests.OneGuest)
    found = [(each.invite, each.where) for each in here if each.name == done.guest]
    invite, where = found[0] if found else ("", "")
    console = _console(chosen.name, as_json, done)
    console.step(f"{done.guest} is out; open connections are ended.")
    if where == "browser":
        console.detail("The page's passcode is still good: `vshare page --rotate` draws another")
    elif invite:
        console.detail(f"The invite {invite!r} may still be good: `vshare revoke {invite}` ends it")
    else:
        console.detail(f"{done.guest} still knows the code: `vshare code --rotate` makes a new one")


@click.command()
@click.argument("guest")
@of_a_share
def approve(guest: str, share: str | None, as_json: bool) -> None:
    """Let GUEST, who waits, in."""
    chosen = choose_share(share)
    done = chosen.ask(requests.Approve(guest), requests.OneGuest)
    _console(chosen.name, as_json, done).step(f"{done.guest} is let in.")


@click.command()
@click.argument("guest")
@of_a_share
def deny(guest: str, share: str | None, as_json: bool) -> None:
    """Send GUEST, who waits, away."""
    chosen = choose_share(share)
    done = chosen.ask(requests.Deny(guest), requests.OneGuest)
    _console(chosen.name, as_json, done).step(f"{done.guest} is sent away.")


@click.command()
@click.argument("seconds", metavar="[TIME]", type=parse_duration, default=EXTENDED_BY)
@of_a_share
def extend(seconds: float, share: str | None, as_json: bool) -> None:
    """Let the share end TIME from now, such as 90m or 2d; 8h if it is left out."""
    chosen = choose_share(share)
    done = chosen.ask(requests.Extend(seconds), requests.Expiry)
    console = _console(chosen.name, as_json, done)
    if not as_json:
        console.result("Ends:", _until(done.expires_at))


@click.command()
@click.option("--rotate", is_flag=True, help="make a new code; the old one is void")
@of_a_share
def code(rotate: bool, share: str | None, as_json: bool) -> None:
    """Show the code that guests need."""
    chosen = choose_share(share)
    given = chosen.ask(requests.Code(rotate), requests.ShareCode)
    console = _console(chosen.name, as_json, given)
    if rotate:
        console.step("The old code is void. Guests who are in stay; `vshare kick` removes one.")
    if not as_json:
        _print_code(console, given.name, given.code, given.connect)


@click.command()
@click.option("--as", "guest", metavar="NAME", default="", help="what the guest will be called")
@click.option("--once", is_flag=True, help="void when somebody has joined with it")
@click.option("--expires", "expires_in", type=parse_duration, metavar="TIME", help="90m, 8h, 2d")
@click.option(
    "--port", "ports", type=parse_port, multiple=True, metavar="PORT", help="opens these (repeat)"
)
@click.option("--terminal", is_flag=True, help="with --port: shared terminals, too")
@of_a_share
def invite(
    guest: str,
    once: bool,
    expires_in: float | None,
    ports: tuple[int, ...],
    terminal: bool,
    share: str | None,
    as_json: bool,
) -> None:
    """Make a code of its own for a guest, with less than the share gives or for less time."""
    chosen = choose_share(share)
    request = requests.MakeInvite(guest, once, expires_in, sorted(set(ports)), terminal)
    made = chosen.ask(request, requests.NewInvite)
    console = _console(chosen.name, as_json, made)
    terms = [
        f"for {guest}" if guest else "",
        "for one guest" if once else "",
        f"until {_until(made.expires_at)}" if made.expires_at else "until the share ends",
        f"opens {_opened(request.ports, terminals=terminal)}" if ports else "",
    ]
    if not as_json:
        console.result("Invite:", made.invite)
        _print_code(console, chosen.name, made.code, made.connect)
    console.step(f"The invite is {', '.join(filter(None, terms))}.")
    console.detail(f"`vshare revoke {made.invite}` voids it, and removes who came by it")


@click.command()
@of_a_share
def invites(share: str | None, as_json: bool) -> None:
    """The invites that were made, with their codes."""
    chosen = choose_share(share)
    found = chosen.ask(requests.Invites(), requests.InviteList)
    if _console(chosen.name, as_json, found).as_json:
        return
    click.echo(f"{_count(len(found.invites), 'invite')} to {chosen.name}")
    print_table(map(_invite_cells, found.invites))


@click.command()
@click.argument("invite")
@of_a_share
def revoke(invite: str, share: str | None, as_json: bool) -> None:
    """Void INVITE, and remove the guests who came by it."""
    chosen = choose_share(share)
    done = chosen.ask(requests.Revoke(invite), requests.Revoked)
    console = _console(chosen.name, as_json, done)
    out = f"out: {', '.join(done.removed)}" if done.removed else "nobody was in by it"
    console.step(f"The invite {done.invite} is void; {out}.")


@click.command()
@click.argument("port", type=parse_port)
@of_a_share
def unfence(port: int, share: str | None, as_json: bool) -> None:
    """Open PORT to guests, which the share had closed by itself."""
    chosen = choose_share(share)
    done = chosen.ask(requests.Unfence(port), requests.Unfenced)
    _console(chosen.name, as_json, done).step(f"Port {done.port} is open to guests.")


@click.command()
@of_a_share
def dashboard(share: str | None, as_json: bool) -> None:
    """A URL for the page of the share: requests as they come, guests, traffic. It opens once."""
    chosen = choose_share(share)
    done = chosen.ask(requests.Dashboard(), requests.DashboardUrl)
    _console(chosen.name, as_json, done).result("Dashboard:", done.url)


COMMANDS: tuple[click.Command, ...] = (
    status,
    guests,
    kick,
    approve,
    deny,
    extend,
    code,
    invite,
    invites,
    revoke,
    unfence,
    dashboard,
)


def _print_code(console: Console, name: str, code: str, connect: str) -> None:
    """As `vshare up` prints it."""
    console.result("Name:", name)
    console.result("Code:", code)
    console.result("Others connect with:", f"vconnect {connect}")


def _guest_cells(guest: GuestRow) -> tuple[str, ...]:
    notes = [f"invite {guest.invite}"] if guest.invite else []
    if guest.uses:
        notes.append(f"uses {', '.join(guest.uses)}")
    if guest.ssh:
        notes.append("SSH")
    if guest.dropped:
        notes.append(f"{_count(guest.dropped, 'datagram')} dropped")
    return (
        guest.name,
        since(guest.since),
        f"from {guest.address} (as the relay says)",
        _count(guest.streams, "stream"),
        _count(guest.connections, "connection"),
        _way(guest),
        f"{_bytes(guest.bytes_in)} in",
        f"{_bytes(guest.bytes_out)} out",
        ", ".join(notes),
    )


def _way(guest: GuestRow) -> str:
    """How its connections come; some of both while it changes from one to the other."""
    if not guest.connections:
        return "away"
    if guest.where == "browser":
        return "in a browser"
    if not guest.direct:
        return "through the relay"
    return "directly" if guest.direct >= guest.connections else f"{guest.direct} directly"


def _waiting_cells(waiting: WaitingRow) -> tuple[str, ...]:
    where = f"from {waiting.address} (as the relay says)"
    return waiting.name, since(waiting.since), where


def _invite_cells(invite: InviteRow) -> tuple[str, ...]:
    return (
        invite.invite,
        invite.code,
        f"for {invite.guest}" if invite.guest else "for anybody",
        "once" if invite.once else "any number of times",
        f"used {_count(invite.used, 'time')}",
        f"until {_until(invite.expires_at)}" if invite.expires_at else "until the share ends",
        _opened(invite.ports, terminals=invite.terminals),
    )


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _ports(ports: list[int]) -> str:
    return ("port " if len(ports) == 1 else "ports ") + ", ".join(map(str, ports))


def _opened(ports: list[int], *, terminals: bool) -> str:
    return (
        _ports(ports) + (" and terminals" if terminals else "") if ports else "all that is shared"
    )


def _bytes(number: int) -> str:
    """In binary units, as short as it can be said."""
    amount = float(number)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if amount >= 10 or unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"


def _clock(moment: float) -> str:
    """The time of day, with its date unless that is today's."""
    then = time.localtime(moment)
    today = then[:3] == time.localtime()[:3]
    return time.strftime("%H:%M" if today else "%Y-%m-%d %H:%M", then)


def since(moment: float) -> str:
    """When something began, and how long ago that is."""
    return f"since {_clock(moment)} ({describe_duration(time.time() - moment)})"


def _until(moment: float) -> str:
    return f"{_clock(moment)} (in {describe_duration(moment - time.time())})"
