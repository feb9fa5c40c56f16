"""`vshare inspect`: what a share would expose, without sharing anything."""

from __future__ import annotations

import sys

import click

from tunnel.console import Console, run
from vshare.options import Options


@click.command()
@click.argument("machine", required=False)
@click.option("--domain", metavar="NAME", help="look at this libvirt domain")
@click.option("--target", metavar="ADDRESS", help="look at what is at ADDRESS, or ssh://USER@HOST")
@click.option("--json", "as_json", is_flag=True, help="one JSON object on stdout")
@click.option("-v", "--verbose", is_flag=True, help="say what happens inside")
def inspect(
    machine: str | None, domain: str | None, target: str | None, as_json: bool, verbose: bool
) -> None:
    """Report what a share of the machine would expose; nothing is shared.

    What listens, what of it guests would reach, which databases let everybody in, and whether
    Vagrant's publicly known key does. Dangers are no failure: the exit code is 0.
    """
    from vshare.inspection import inspect_machine  # what it needs takes others a while to load

    options = Options(machine=machine, domain=domain, target=target)
    console = Console(machine or "vshare", as_json=as_json, verbose=verbose)
    sys.exit(run(console, lambda interrupt: inspect_machine(options, console)))
