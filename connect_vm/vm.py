"""The connect VM, whatever runs it: booted, its addresses, gone again.

A driver is an async context manager that yields a Machine; on leaving it removes all it
made. `run` chooses the driver.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

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
    """A connect VM that runs: its agent listens at control:port and knows `secret`."""

    static_ip: IPv4Address
    control: IPv4Address
    port: int
    secret: bytes


@dataclass(frozen=True, slots=True)
class Wish:
    """What was asked for. `console`: a file for the VM's serial console, for -v."""

    static_ip: str | None = None
    console: Path | None = None
    progress: Progress = lambda _text: None


@asynccontextmanager
async def run(driver: str, wish: Wish) -> AsyncIterator[Machine]:
    """A connect VM of `driver`, running. Raises UsageError, VmError, AddressError, ImageError."""
    if driver == "libvirt":
        from connect_vm.vm_libvirt import LibvirtDriver

        async with LibvirtDriver(wish) as machine:
            yield machine
    elif driver == "vagrant":
        from connect_vm.vm_vagrant import VagrantDriver

        async with VagrantDriver(wish) as machine:
            yield machine
    else:
        raise UsageError(f"no such driver: {driver!r}", f"one of {', '.join(DRIVERS)}")


async def agent_answers(control: IPv4Address, port: int) -> bool:
    """Does something accept connections at the agent's port?"""
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            _reader, writer = await asyncio.open_connection(str(control), port)
    except OSError:  # TimeoutError is one
        return False
    writer.close()
    return True
