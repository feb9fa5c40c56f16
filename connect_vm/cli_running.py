"""The commands for a `vconnect` that runs: what is shared by name, where it is, who is there.

They ask it through its control socket (connect_vm/running.py). Each takes --share NAME, which only
those with several connections need, and --json.
"""

from __future__ import annotations

import webbrowser
from collections.abc import Callable
from typing import TypeVar

import click
import msgspec

from connect_vm import requests
from connect_vm.clipboard import copy_text
from connect_vm.requests import ServerRow
from connect_vm.running import choose_connection
from tunnel.address import parse_port
from tunnel.command import print_table
from tunnel.console import Console
from tunnel.errors import UsageError, VshareError
from tunnel.requests import Result
from tunnel.running import Running

HELP = {"help_option_names": ["-h", "--help"]}
F = TypeVar("F", bound=Callable[..., None])


def _of_a_connection(command: F) -> F:
    """The options that all of these commands have."""
    as_json = click.option("--json", "as_json", is_flag=True, help="one JSON object on stdout")
    share = click.option("--share", metavar="NAME", help="which connection, where several run")
    return share(as_json(command))


def _console(share: str, as_json: bool, result: Result) -> Console:
    """The screen, on which scripts have `result` already."""
    console = Console(share, as_json=as_json)
    console.event(share=share, **msgspec.to_builtins(result))
    return console


@click.command(context_settings=HELP)
@_of_a_connection
def servers(share: str | None, as_json: bool) -> None:
    """What is shared by name, and where it is on this host."""
    chosen = choose_connection(share)
    found = chosen.ask(requests.Servers(), requests.ServerList)
    if _console(chosen.name, as_json, found).as_json:
        return
    named = [row for row in found.servers if row.name]
    click.echo(f"{len(named)} {'server' if len(named) == 1 else 'servers'} of {chosen.name}")
    print_table(map(_cells, found.servers))


@click.command("map", context_settings=HELP)
@click.argument("server")
@click.argument("local", type=parse_port, required=False)
@_of_a_connection
def map_server(server: str, local: int | None, share: str | None, as_json: bool) -> None:
    """Have SERVER (its name, or a port of the machine) on the local port LOCAL."""
    chosen = choose_connection(share)
    done = chosen.ask(requests.Map(server, local or 0), requests.Mapped)
    console = _console(chosen.name, as_json, done)
    if not as_json:
        console.result(f"{_called(done.server)}:", _where(done.server))


@click.command(context_settings=HELP)
@click.argument("server")
@_of_a_connection
def unmap(server: str, share: str | None, as_json: bool) -> None:
    """Have SERVER on no local port, and cut what is open there."""
    chosen = choose_connection(share)
    done = chosen.ask(requests.Unmap(server), requests.Unmapped)
    _console(chosen.name, as_json, done).step(f"{_called(done.server)} is on no local port now.")


@click.command("open", context_settings=HELP)
@click.argument("server")
@_of_a_connection
def open_server(server: str, share: str | None, as_json: bool) -> None:
    """Open SERVER in the browser."""
    chosen, row = _find(server, share)
    console = Console(chosen.name, as_json=as_json)
    console.result("Opening", row.url, share=chosen.name, url=row.url)
    if not webbrowser.open(row.url):
        raise VshareError("no browser was found on this host", f"open {row.url} yourself")


@click.command(context_settings=HELP)
@click.argument("server")
@_of_a_connection
def copy(server: str, share: str | None, as_json: bool) -> None:
    """Copy the link to SERVER into the clipboard, over SSH too, and print it."""
    chosen, row = _find(server, share)
    link = _where(row)
    how = copy_text(link)
    console = Console(chosen.name, as_json=as_json)
    console.result("Link:", link, share=chosen.name, link=link, copied=how)
    if not how:
        raise VshareError("there is no clipboard here", f"copy {link} yourself")
    console.step(f"It was copied ({' and '.join(how)}).")


@click.command(context_settings=HELP)
@_of_a_connection
def guests(share: str | None, as_json: bool) -> None:
    """Who else is there, if the sharer shows that."""
    chosen = choose_connection(share)
    found = chosen.ask(requests.People(), requests.PeopleList)
    console = _console(chosen.name, as_json, found)
    if as_json:
        return
    if not found.shown:
        console.step("The sharer does not show guests to each other.")
        return
    click.echo(f"{len(found.guests)} other {'guest' if len(found.guests) == 1 else 'guests'}")
    print_table((name,) for name in found.guests)


@click.command(context_settings=HELP)
@_of_a_connection
def terminals(share: str | None, as_json: bool) -> None:
    """The terminals that the sharer shares; `vconnect terminal` sits before one."""
    chosen = choose_connection(share)
    found = chosen.ask(requests.Terminals(), requests.TerminalList).terminals
    console = _console(chosen.name, as_json, requests.TerminalList(found))
    if as_json:
        return
    if not found:
        console.step("No terminal is shared.")
    print_table(
        (
            each.name,
            f"{each.columns}x{each.rows}",
            f"{each.mode}, locked" if each.locked else each.mode,
            f"{each.viewers} here",
        )
        for each in found
    )


COMMANDS: dict[str, click.Command] = {
    "servers": servers,
    "map": map_server,
    "unmap": unmap,
    "open": open_server,
    "copy": copy,
    "guests": guests,
    "terminals": terminals,
}


def _find(server: str, share: str | None) -> tuple[Running, ServerRow]:
    """The connection, and what is called `server` there; it has a link. Raises VshareError."""
    chosen = choose_connection(share)
    rows = chosen.ask(requests.Servers(), requests.ServerList).servers
    row = next((each for each in rows if server in (each.name, str(each.port))), None)
    if row is None:
        known = ", ".join(each.name for each in rows if each.name) or "none"
        raise UsageError(f"no server is shared as {server!r}", f"those that are: {known}")
    if not row.local:
        raise UsageError(f"{server!r} is on no local port", f"`vconnect map {server}` gives it one")
    return chosen, row


def _called(row: ServerRow) -> str:
    return row.name or f"port {row.port}"


def _cells(row: ServerRow) -> tuple[str, ...]:
    return row.name or "-", f"port {row.port}", _where(row) if row.local else "on no local port"


def _where(row: ServerRow) -> str:
    """A link where it is a website, else what other programs are told."""
    return row.url if row.scheme else f"localhost:{row.local}"
