"""`vconnect terminal`: sit before a terminal that the sharer shares."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from connect_vm.session import Options
from tunnel.console import Interrupt, run


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("name", metavar="NAME[@RELAY]")
@click.option("--terminal", metavar="NAME", default="", help="which, where there are several")
@click.option("--relay", metavar="HOST:PORT#PIN", help="the relay [or $VSHARE_RELAY]")
@click.option("--relay-only", is_flag=True, help="through the relay, also on the same network")
@click.option("--code-file", type=click.Path(path_type=Path), help="read the code from a file")
@click.option("--as", "guest", metavar="NAME", help="what the sharer sees you as")
@click.option("-v", "--verbose", is_flag=True, help="say what happens inside")
def terminal(
    name: str,
    terminal: str,
    relay: str | None,
    relay_only: bool,
    code_file: Path | None,
    guest: str | None,
    verbose: bool,
) -> None:
    """Look at a terminal that the sharer shares, and type in it if the sharer lets you.

    You are asked for the code. Enter ~ . leaves, Enter ~ ? tells what else there is.
    """
    from connect_vm.terminal_here import SeatConsole, connect_terminal

    options = Options(
        line=name, relay=relay, relay_only=relay_only, code_file=code_file, guest=guest
    )
    console = SeatConsole("terminal", verbose=verbose)

    async def look(interrupt: Interrupt) -> None:
        await connect_terminal(options, terminal, console, interrupt)

    sys.exit(run(console, look))
