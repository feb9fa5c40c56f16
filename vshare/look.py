"""Looking at the machine before anything of it is shared."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from tunnel.console import Console, printable
from vshare import exposure, find_libvirt, find_target, find_vagrant
from vshare.exposure import Report
from vshare.http_probe import ProbeResult, candidates, no_http_error, probe
from vshare.listening import Listening, find_listeners
from vshare.machine import Machine, Source
from vshare.options import Options
from vshare.reach_machine import MachineReach
from vshare.web.find_sites import find_sites
from vshare.web.sites import MAIN, Sites
from vshare.web.titles import add_titles
from vshare.web.vhosts import Vhosts, find_vhosts


@dataclass(frozen=True, slots=True)
class Found:
    """What was found out about the machine."""

    machine: Machine
    report: Report
    sites: Sites = field(default_factory=Sites)  # of the public URL

    @property
    def http_port(self) -> int | None:
        """Where the main site speaks HTTP."""
        return None if self.sites.http is None else self.sites.http.port

    @property
    def https_port(self) -> int | None:
        """Where the main site speaks HTTPS."""
        return None if self.sites.https is None else self.sites.https.port

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
    sites = await _look_for_sites(options, machine, report, reach, console)
    return Found(machine, report, sites)


async def _look_for_sites(
    options: Options, machine: Machine, report: Report, reach: MachineReach, console: Console
) -> Sites:
    """What the URL leads to. Raises VshareError where there is nothing, and SSH is not shared."""
    with console.busy("looking for HTTP"):
        result, vhosts = await _ask(options, machine, report, reach)
        found = find_sites(options, report, result, vhosts)
        found_sites = found.sites if options.https else found.sites.without_https()
        sites = await add_titles(reach, found_sites)
    if sites.http is None and sites.https is None:
        error = no_http_error(machine, result)
        if options.ssh is None and options.guest_page is None:
            raise error
        if options.ssh is not None:
            console.detail(f"{error.text}: there is no public URL, SSH is shared all the same")
        else:
            console.detail(f"{error.text}: the guest page is the only site")
        sites = Sites()
    if vhosts.unknown and reach.link is not None:
        console.detail(f"Its virtual hosts are not known: {printable(vhosts.unknown)}")
    for kind, site in (("HTTP", sites.http), ("HTTPS", sites.https)):
        console.step(f"Local {kind} port: {'disabled' if site is None else site.port}")
    if any(site.tls for site in sites.all()):
        console.detail("Its own certificates are not checked: self-signed ones will do.")
    for label in sites.labels:
        if label != MAIN:
            console.detail(f"Also found: {_describe(sites, label)}")
    for note in found.notes:
        console.detail(note)
    return sites


def _describe(sites: Sites, label: str) -> str:
    pair = [each for each in sites.pair(label) if each is not None]
    ports = " and ".join(str(each.port) for each in pair)
    title = next((f": {each.title}" for each in pair if each.title), "")
    host = f"{pair[0].server_name} at port" if pair[0].is_virtual else "port"
    return f"{host} {ports}{title}"


async def _ask(
    options: Options, machine: Machine, report: Report, reach: MachineReach
) -> tuple[ProbeResult, Vhosts]:
    """Which ports speak HTTP, and what web servers are configured with, at the same time."""
    wanted = candidates(
        machine,
        report.listening,
        http=options.http_port,
        https=options.https_port,
        loopback=options.loopback,
        ports=options.ports,
    )
    as_root = machine.source is Source.VAGRANT
    async with asyncio.TaskGroup() as group:
        probing = group.create_task(probe(reach, wanted), name="probe")
        asking = group.create_task(find_vhosts(reach.link, as_root=as_root), name="virtual hosts")
    return probing.result(), asking.result()
