"""`vshare inspect`: what a share would expose, without sharing anything."""

from __future__ import annotations

import sys

import click

from tunnel.console import Console, printable, run
from vshare.exposure import Report, describe, to_json
from vshare.look import Found, find_machine, look_inside
from vshare.options import Options
from vshare.policy import Policy
from vshare.reach_machine import MachineReach
from vshare.rules import make_policy


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
    options = Options(machine=machine, domain=domain, target=target)
    console = Console(machine or "vshare", as_json=as_json, verbose=verbose)
    sys.exit(run(console, lambda interrupt: _inspect(options, console)))


async def _inspect(options: Options, console: Console) -> None:
    options.check()
    machine = await find_machine(options, console)
    console.machine = machine.name
    async with MachineReach(machine) as reach:
        report = await look_inside(options, machine, reach, console)
        found = Found(machine, report)
        policy = make_policy(options, found, only_loopback=reach.reaches_loopback)
    _tell(report, policy, console)


def _tell(report: Report, policy: Policy, console: Console) -> None:
    if console.as_json:
        console.event(event="exposure", machine=console.machine, **to_json(report, policy))
        return
    for line in describe(report, policy):
        print(printable(line))
    print(printable(f"Guests would reach {policy.describe()}."))
