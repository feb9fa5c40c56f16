"""`vshare doctor`: what works between here and the relay, and what to tell who runs the network."""

from __future__ import annotations

import os
import sys

import click

from tunnel.address import parse_relay
from tunnel.console import Console, Interrupt, run


@click.command()
@click.option("--relay", metavar="HOST:PORT#PIN", help="the relay [or $VSHARE_RELAY]")
@click.option("--json", "as_json", is_flag=True, help="one JSON object per line on stdout")
@click.option("-v", "--verbose", is_flag=True, help="say what happens inside")
def doctor(relay: str | None, as_json: bool, verbose: bool) -> None:
    """Say step by step what works between here and the relay.

    Nothing is shared. The exit code is 1 if something that sharing needs does not work.
    """
    # What it needs takes others a while to load.
    from tunnel.doctor.report import examine_all
    from vshare.doctor import local_steps

    named = relay or os.environ.get("VSHARE_RELAY")
    address = parse_relay(named) if named else None
    console = Console("doctor", as_json=as_json, verbose=verbose)
    well = False

    async def work(_: Interrupt) -> None:
        nonlocal well
        well = await examine_all(address, local_steps(), console, click.echo, sharing=True)

    sys.exit(run(console, work) or int(not well))
