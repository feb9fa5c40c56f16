"""Where the machine is now: asked again when it does not answer where it was.

A machine that was rebooted may come back at another address. What libvirt's DHCP server leased
to its network cards is believed; what this host's ARP table says only within the network that
the machine was in before, since the machine itself writes there. Its guest agent is not asked:
guests may be root in the machine, and its word would lead them into the sharer's network.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from typing import TypeAlias

from tunnel.errors import VshareError
from vshare import find_libvirt, find_vagrant
from vshare.machine import Machine, Source, SshAccess, is_loopback, parse_ip

LOOK_EVERY = 1.0  # seconds; libvirt answers in some milliseconds
ASK_VAGRANT_EVERY = 20.0  # seconds; each time, Ruby starts and computes for two of them
_PREFIX = {4: 24, 6: 64}  # bits of an address that name its network, nearly everywhere


@dataclass(frozen=True, slots=True)
class Sighting:
    """Where a machine was seen: all its addresses, and how to log in to it, where that is known.
    `is_off`: nowhere, since it does not run."""

    addresses: tuple[str, ...] = ()
    ssh: SshAccess | None = None
    is_off: bool = False


Look: TypeAlias = Callable[[Machine], Awaitable[Sighting]]


async def look(machine: Machine) -> Sighting:
    """Ask whoever runs the machine. Does not raise; a `--target` is nobody's."""
    if machine.domain is not None:
        found = await find_libvirt.find_addresses(machine.domain)
        if found is None:
            return Sighting(is_off=True)
        leased, neighbours = found
        near = (each for each in neighbours if _is_near(each, machine.address))
        return Sighting(tuple(dict.fromkeys((*leased, *near))))
    if machine.source is Source.VAGRANT and machine.directory is not None:
        try:
            ssh = await find_vagrant.find_ssh(machine.directory, machine.name)
        except VshareError:
            return Sighting()
        direct = ssh.proxy_command is None and not is_loopback(ssh.host)
        return Sighting((ssh.host,) if direct else (), ssh)
    return Sighting()


def _is_near(address: str, known: str | None) -> bool:
    one, other = parse_ip(address), parse_ip(known or "")
    if one is None or other is None or one.version != other.version:
        return False
    network = ipaddress.ip_network(f"{other}/{_PREFIX[other.version]}", strict=False)
    return one in network


class Whereabouts:
    """Asks at most as often as is good for who is asked; callers at one time share an answer.

    Addresses that the machine had besides its own when the share began are no places to look
    for it: a machine with two networks is still in both.
    """

    def __init__(self, machine: Machine, look: Look = look) -> None:
        self._machine = machine
        self._look = look
        self._every = LOOK_EVERY if machine.domain is not None else ASK_VAGRANT_EVERY
        self._lock = asyncio.Lock()
        self._asked_at = 0.0
        self._last = Sighting()
        self._others: frozenset[str] = frozenset()

    @property
    def can_ask(self) -> bool:
        """Whether there is anybody who may know."""
        return self._machine.source is not Source.TARGET

    async def begin(self) -> None:
        """Remember the machine's other addresses."""
        if self._machine.domain is not None:
            seen = await self._look(self._machine)
            self._others = frozenset(seen.addresses) - {self._machine.address}

    async def ask(self) -> Sighting:
        """Where it may be, the answer being up to LOOK_EVERY old."""
        if not self.can_ask:
            return Sighting()
        async with self._lock:
            loop = asyncio.get_running_loop()
            if not self._asked_at or loop.time() - self._asked_at >= self._every:
                seen = await self._look(self._machine)
                self._last = replace(seen, addresses=tuple(self._places(seen.addresses)))
                self._asked_at = loop.time()
            return self._last

    def _places(self, addresses: Iterable[str]) -> Iterable[str]:
        return (each for each in addresses if each not in self._others)
