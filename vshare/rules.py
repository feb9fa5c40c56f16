"""The policy of a share, made of what the sharer said and what the machine is."""

from __future__ import annotations

import dataclasses

from vshare.exposure import fences
from vshare.look import Found
from vshare.machine import LOOPBACK, SSH_PORT
from vshare.options import Options
from vshare.policy import Policy

SSH_PROGRAMS = frozenset({"sshd", "dropbear", "tinysshd"})


def ssh_ports_of(options: Options, found: Found) -> frozenset[int]:
    """Every port of the machine that is known to be SSH's."""
    ports = {each.port for each in found.listening.listeners if each.process in SSH_PROGRAMS}
    machine = found.machine
    if machine.ssh is not None and machine.ssh.host == machine.address:
        ports.add(machine.ssh.port)
    if options.ssh is not None and options.ssh.port is not None:
        ports.add(options.ssh.port)
    return frozenset(ports | {SSH_PORT})


def make_policy(options: Options, found: Found, *, only_loopback: bool) -> Policy:
    """What guests may open. `only_loopback`: the machine is reached at its own loopback, so what
    was meant for that alone has to be kept closed here."""
    machine = found.machine
    names = {machine.name.lower()}
    if machine.address:
        names.add(machine.address.lower())
    hidden = {each.port for each in found.listening.listeners if each.loopback_only}
    hidden -= {each.port for each in found.listening.listeners if not each.loopback_only}
    hidden -= {options.http_port, options.https_port}  # named by the sharer
    # Where it is not known what was meant for the loopback alone, nothing is open unasked.
    unknown = only_loopback and bool(found.listening.unknown)
    restricted = bool(options.ports) or options.only_served or unknown
    policy = Policy(
        names=frozenset(names | {LOOPBACK, "localhost"} if only_loopback else names),
        only_ports=frozenset(options.ports) if restricted else None,
        loopback_ports=frozenset(options.loopback),
        hidden_ports=frozenset(hidden) if only_loopback else frozenset(),
        ssh_ports=ssh_ports_of(options, found),
        http_ports=found.sites.ports,
        exposed=options.expose,
        ssh_shared=options.ssh is not None,
    )
    fenced = fences(found.report, policy)
    return dataclasses.replace(
        policy, fenced={port: fenced[port] for port in fenced if port not in options.unfence}
    )
