"""`vconnect doctor`: what works between here and a share's relay, and what the static IP needs."""

from __future__ import annotations

import os
import sys

import click

from connect_vm.doctor import local_steps
from tunnel.address import parse_connect_line, parse_relay
from tunnel.console import Console, Interrupt, run
from tunnel.doctor.report import examine_all


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("line", metavar="[NAME@RELAY]", required=False)
@click.option("--relay", metavar="HOST:PORT#PIN", help="the relay [or $VSHARE_RELAY]")
@click.option("--json", "as_json", is_flag=True, help="one JSON object per line on stdout")
@click.option("-v", "--verbose", is_flag=True, help="say what happens inside")
def doctor(line: str | None, relay: str | None, as_json: bool, verbose: bool) -> None:
    """Say step by step what works between here and the relay.

    Nothing is connected, no code is needed. The exit code is 1 if something does not work.
    """
    address = parse_connect_line(line).relay if line else None
    named = relay or os.environ.get("VSHARE_RELAY")
    if address is None and named:
        address = parse_relay(named)
    console = Console("doctor", as_json=as_json, verbose=verbose)
    well = False

    async def work(_: Interrupt) -> None:
        nonlocal well
        well = await examine_all(address, local_steps(), console, click.echo, sharing=False)

    sys.exit(run(console, work) or int(not well))
