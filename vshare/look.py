"""Looking at the machine before anything of it is shared."""

from __future__ import annotations

from dataclasses import dataclass

from tunnel.console import Console
from vshare import exposure, find_libvirt, find_target, find_vagrant
from vshare.exposure import Report
from vshare.http_probe import candidates, no_http_error, probe
from vshare.listening import Listening, find_listeners
from vshare.machine import Machine, Source
from vshare.options import Options
from vshare.reach_machine import MachineReach


@dataclass(frozen=True, slots=True)
class Found:
    """What was found out about the machine."""

    machine: Machine
    report: Report
    http_port: int | None = None
    https_port: int | None = None

    @property
    def listening(self) -> Listening:
        """What listens on it."""
        return self.report.listening


async def find_machine(options: Options, console: Console) -> Machine:
    """The machine that the command line means. Raises VshareError."""
    if options.target is not None:
        return await find_target.find(options.target)
    if options.domain is not None:
        console.step(f"Looking at the libvirt domain {options.domain!r}...")
        with console.busy("asking libvirt"):
            return await find_libvirt.find(options.domain)
    console.step("Looking at the Vagrant environment of this directory...")
    with console.busy("asking vagrant"):
        return await find_vagrant.find(options.machine)


async def look_inside(
    options: Options, machine: Machine, reach: MachineReach, console: Console
) -> Report:
    """What listens on it, and what of that is dangerous to share."""
    with console.busy("asking the machine what listens on it"):
        as_root = machine.source is Source.VAGRANT
        listening = await find_listeners(reach.link, as_root=as_root)
    with console.busy("looking for what is open without a password"):
        return await exposure.examine(machine, listening, reach, loopback=options.loopback)


async def look(options: Options, machine: Machine, reach: MachineReach, console: Console) -> Found:
    """All that `vshare up` wants to know. Raises VshareError: no HTTP where it is asked for."""
    if machine.source is not Source.TARGET:
        console.detail(f"Provider: {machine.provider}, state: {machine.state}")
    where = machine.address or "none of its own: everything goes through SSH"
    console.detail(f"Local machine address: {where}")
    if reach.is_this_host and not options.ports:
        console.warn("this host itself is shared, what listens on its loopback included;")
        console.detail("--port restricts it to the ports that you name")
    if machine.ssh is not None:
        console.detail(f"SSH: {machine.ssh}")
    report = await look_inside(options, machine, reach, console)
    if not options.http:
        return Found(machine, report)
    wanted = candidates(
        machine,
        report.listening,
        http=options.http_port,
        https=options.https_port,
        loopback=options.loopback,
    )
    with console.busy("looking for HTTP"):
        result = await probe(reach, wanted)
    if result.http_port is None and result.https_port is None:
        error = no_http_error(machine, result)
        if options.ssh is None:
            raise error
        console.detail(f"{error.text}: there is no public URL, SSH is shared all the same")
    console.step(f"Local HTTP port: {result.http_port or 'disabled'}")
    console.detail(f"Local HTTPS port: {result.https_port or 'disabled'}")
    return Found(machine, report, result.http_port, result.https_port)
