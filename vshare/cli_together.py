"""The commands for working together in a share that runs: servers by name, messages to all."""

from __future__ import annotations

import click
import msgspec

from tunnel.address import parse_port
from tunnel.command import print_table
from tunnel.console import Console
from tunnel.errors import UsageError
from tunnel.follow import MAX_TEXT, Server
from tunnel.requests import Result
from vshare.cli_running import of_a_share
from vshare.running import choose_share
from vshare.together import requests
from vshare.together.servers import check_name


def _console(share: str, as_json: bool, result: Result) -> Console:
    """The screen, on which scripts have `result` already."""
    console = Console(share, as_json=as_json)
    console.event(share=share, **msgspec.to_builtins(result))
    return console


@click.command()
@click.argument("port", type=parse_port)
@click.option("--name", metavar="NAME", help="what guests call it [the port]")
@of_a_share
def serve(port: int, name: str | None, share: str | None, as_json: bool) -> None:
    """Share PORT of the machine by name: guests get it on their localhost."""
    called = check_name(name or str(port))
    chosen = choose_share(share)
    done = chosen.ask(requests.Serve(port, called), requests.Served)
    console = _console(chosen.name, as_json, done)
    console.step(f"Port {port} is shared as {called!r}; guests are told.")


@click.command()
@click.argument("name")
@of_a_share
def unserve(name: str, share: str | None, as_json: bool) -> None:
    """Take the server NAME back, and cut what is open to it."""
    chosen = choose_share(share)
    done = chosen.ask(requests.Unserve(check_name(name)), requests.Unserved)
    console = _console(chosen.name, as_json, done)
    cut = f"; {done.cut} open connections were cut" if done.cut > 1 else ""
    cut = "; an open connection was cut" if done.cut == 1 else cut
    console.step(f"{done.server.name!r} (port {done.server.port}) is shared by name no more{cut}.")
    if done.is_open:
        console.detail("Guests can open that port all the same, for more than servers is shared:")
        console.detail("`vshare up --only-served` shares what has a name, and nothing else")


@click.command()
@of_a_share
def servers(share: str | None, as_json: bool) -> None:
    """The ports that are shared by name."""
    chosen = choose_share(share)
    found = chosen.ask(requests.Servers(), requests.ServerList)
    if _console(chosen.name, as_json, found).as_json:
        return
    count = len(found.servers)
    click.echo(f"{count} {'server' if count == 1 else 'servers'} of {chosen.name}")
    print_table(map(_cells, found.servers))


@click.command()
@click.argument("text")
@of_a_share
def say(text: str, share: str | None, as_json: bool) -> None:
    """Tell all guests TEXT."""
    if not 1 <= len(text.strip()) <= MAX_TEXT:
        raise UsageError(f"a message has 1 to {MAX_TEXT} characters", "say it shorter")
    chosen = choose_share(share)
    done = chosen.ask(requests.SayToAll(text.strip()), requests.Said)
    whom = "a guest is" if done.guests == 1 else f"{done.guests} guests are"
    _console(chosen.name, as_json, done).step(f"Said; {whom} there.")


def _cells(server: Server) -> tuple[str, ...]:
    return server.name, f"port {server.port}", server.scheme


COMMANDS: tuple[click.Command, ...] = (serve, unserve, servers, say)
