"""What `vshare inspect` does: it looks at a machine as a share would, and reports."""

from __future__ import annotations

from tunnel.console import Console, printable
from vshare.exposure import Report, describe, to_json
from vshare.look import Found, find_machine, look_inside
from vshare.options import Options
from vshare.policy import Policy
from vshare.reach_machine import MachineReach
from vshare.rules import make_policy


async def inspect_machine(options: Options, console: Console) -> None:
    """Report it on `console` or stdout. Raises VshareError."""
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
