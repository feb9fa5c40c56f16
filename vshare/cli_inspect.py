"""`vshare inspect`: what a share would expose, without sharing anything."""

from __future__ import annotations

import sys
from dataclasses import replace

import click

from tunnel.console import Console, printable, run
from vshare.exposure import Report, describe, examine, fences, to_json
from vshare.listening import Listening, find_listeners
from vshare.machine import SSH_PORT, Machine, Source
from vshare.policy import Policy
from vshare.reach_machine import MachineReach
from vshare.share import SSH_PROGRAMS, Options, find_machine


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
        with console.busy("asking the machine what listens on it"):
            listening = await find_listeners(reach.link, as_root=machine.source is Source.VAGRANT)
        with console.busy("asking what would let everybody in"):
            report = await examine(machine, listening, reach)
        policy = plain_policy(machine, listening, only_loopback=reach.reaches_loopback)
    _tell(report, replace(policy, fenced=fences(report, policy)), console)


def _tell(report: Report, policy: Policy, console: Console) -> None:
    if console.as_json:
        console.event(event="exposure", machine=console.machine, **to_json(report, policy))
        return
    for line in describe(report, policy):
        print(printable(line))
    print(printable(f"Guests would reach {policy.describe()}."))


def plain_policy(machine: Machine, listening: Listening, *, only_loopback: bool) -> Policy:
    """What `vshare up` without options lets guests open; see share.make_policy."""
    ssh = {each.port for each in listening.listeners if each.process in SSH_PROGRAMS} | {SSH_PORT}
    if machine.ssh is not None and machine.ssh.host == machine.address:
        ssh.add(machine.ssh.port)
    hidden = {each.port for each in listening.listeners if each.loopback_only}
    hidden -= {each.port for each in listening.listeners if not each.loopback_only}
    return Policy(
        names=frozenset(),
        only_ports=frozenset() if only_loopback and listening.unknown else None,
        hidden_ports=frozenset(hidden) if only_loopback else frozenset(),
        ssh_ports=frozenset(ssh),
    )
