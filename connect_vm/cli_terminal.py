"""`vconnect terminal`: sit before a terminal that the sharer shares."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from connect_vm.running import CONNECTIONS, choose_connection
from connect_vm.session import Options
from tunnel.address import parse_connect_line
from tunnel.console import Interrupt, run
from tunnel.running import Running, all_running


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("name", metavar="[NAME[@RELAY]]", required=False)
@click.option("--terminal", metavar="NAME", default="", help="which, where there are several")
@click.option("--relay", metavar="HOST:PORT#PIN", help="the relay [or $VSHARE_RELAY]")
@click.option("--relay-only", is_flag=True, help="through the relay, also on the same network")
@click.option("--code-file", type=click.Path(path_type=Path), help="read the code from a file")
@click.option("--as", "guest", metavar="NAME", help="what the sharer sees you as")
@click.option("-v", "--verbose", is_flag=True, help="say what happens inside")
def terminal(
    name: str | None,
    terminal: str,
    relay: str | None,
    relay_only: bool,
    code_file: Path | None,
    guest: str | None,
    verbose: bool,
) -> None:
    """Look at a terminal that the sharer shares, and type in it if the sharer lets you.

    Where a `vconnect` to NAME runs already, it goes through that, as the same guest, and NAME can
    be left out where there is one alone. Else you join, and are asked for the code.

    Enter ~ . leaves, Enter ~ ? tells what else there is.
    """
    from connect_vm.terminal_here import SeatConsole, connect_terminal, sit_beside

    console = SeatConsole("terminal", verbose=verbose)
    joins = code_file is not None or guest is not None
    running = None if joins and name is not None else _running(name)

    async def look(interrupt: Interrupt) -> None:
        if running is not None:
            await sit_beside(running, terminal, console, interrupt)
            return
        options = Options(
            line=name or "", relay=relay, relay_only=relay_only, code_file=code_file, guest=guest
        )
        await connect_terminal(options, terminal, console, interrupt)

    sys.exit(run(console, look))


def _running(name: str | None) -> Running | None:
    """The connection to use: the only one where no share is named, else one to that share, if
    there is any. Raises VshareError."""
    if name is None:
        return choose_connection(None)
    wanted = parse_connect_line(name)
    if wanted.code is not None:
        return None
    return next((each for each in all_running(CONNECTIONS) if each.name == wanted.name), None)
