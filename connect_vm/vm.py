"""The connect VM, whatever runs it: booted, its addresses, gone again.

`run` chooses the driver, which starts a Machine; on leaving, all that was made is removed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from typing import Protocol

from tunnel.errors import UsageError, VshareError

DRIVERS = ("libvirt", "vagrant")
SECRET_SIZE = 32  # bytes, docs/protocol.md 10
PROBE_SECONDS = 0.5  # for one try to reach the agent

# Told what happens, a sentence each: "starting the connect VM".
Progress = Callable[[str], None]


class VmError(VshareError):
    """The connect VM cannot be run here."""


@dataclass(frozen=True, slots=True)
class Machine:
    """A connect VM that runs: its agent listens at control:port and knows `secret`. It has a static
    IP for each machine."""

    static_ips: tuple[IPv4Address, ...]
    control: IPv4Address
    port: int
    secret: bytes

    @property
    def static_ip(self) -> IPv4Address:
        """The first machine's."""
        return self.static_ips[0]


@dataclass(frozen=True, slots=True)
class Wish:
    """What was asked for: `static_ip` for the first of `machines`, and those after it for the rest.
    `console`: a file for the VM's serial console, for -v."""

    static_ip: str | None = None
    machines: int = 1
    console: Path | None = None
    progress: Progress = lambda _text: None


@asynccontextmanager
async def run(driver: str, wish: Wish) -> AsyncIterator[Machine]:
    """A connect VM of `driver`, running. Raises UsageError, VmError, AddressError, ImageError."""
    async with AsyncExitStack() as stack:
        yield await _driver(driver, wish).start(stack)


class Driver(Protocol):
    """What runs the connect VM."""

    async def start(self, stack: AsyncExitStack) -> Machine:
        """Boot it; `stack` removes all that was made."""


def _driver(name: str, wish: Wish) -> Driver:
    """The driver of that name; what it is built on is imported only here. Raises UsageError."""
    if name == "libvirt":
        from connect_vm.vm_libvirt import LibvirtDriver

        return LibvirtDriver(wish)
    if name == "vagrant":
        from connect_vm.vm_vagrant import VagrantDriver

        return VagrantDriver(wish)
    raise UsageError(f"no such driver: {name!r}", f"one of {', '.join(DRIVERS)}")


async def agent_answers(control: IPv4Address, port: int) -> bool:
    """Does something accept connections at the agent's port?"""
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            _reader, writer = await asyncio.open_connection(str(control), port)
    except OSError:  # TimeoutError is one
        return False
    writer.close()
    return True
