"""The way to a machine as it was found: its address where it has one, SSH for the rest."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from types import TracebackType
from typing import Self

from tunnel.codes import Code
from tunnel.ends import End
from tunnel.errors import RefusedError, VshareError
from tunnel.flows import CountingFlow, FlowReceiver
from vshare.exposed import Exposed
from vshare.find_again import Whereabouts
from vshare.machine import Machine, SshAccess, is_loopback
from vshare.reach import Reach
from vshare.reach_moving import MAX_PLACES, MovingReach
from vshare.reach_ssh import SshReach
from vshare.ssh_link import SshLink


class MachineReach:
    """Picks per connection: direct, or SSH where only that leads there (loopback, no address).

    A machine that got another address is found there, and `on_moved(address)` called.
    Hosts beside the machine are refused without `exposed`. `link` is the SSH connection that
    the reach uses (None without SSH); it is there for others to use too (listening.py), and
    is closed with the reach.
    """

    def __init__(self, machine: Machine, exposed: Exposed | None = None) -> None:
        self.machine = machine
        self.on_moved: Callable[[str], None] = lambda address: None
        self._exposed = exposed
        self._whereabouts = Whereabouts(machine)
        self.link = SshLink(machine.ssh, self._log_in_elsewhere) if machine.ssh else None
        self._direct: MovingReach | None = None
        if machine.address:
            self._direct = MovingReach(machine.address, exposed, self._whereabouts, self._moved)
        self._ssh: SshReach | None = None
        self._ssh_lock = asyncio.Lock()
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Log in already where SSH is the only way. Raises VshareError."""
        if self._direct is None and self.link is None:
            raise VshareError(
                f"{self.machine.name} has neither an address nor SSH",
                "give its address with --target ADDRESS, or --target ssh://USER@HOST",
            )
        async with AsyncExitStack() as stack:
            if self._direct is not None:
                await stack.enter_async_context(self._direct)
            if self.link is not None:
                await stack.enter_async_context(self.link)
                if self._direct is None:
                    self._ssh = await stack.enter_async_context(SshReach(self.link, self._exposed))
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the SSH connection, where one was made."""
        await self._stack.aclose()

    @property
    def reaches_loopback(self) -> bool:
        """Whether host "" is the machine's own loopback: SSH came in through a forwarder."""
        return self._direct is None and self._ssh is not None and self._ssh.own_is_loopback

    @property
    def is_this_host(self) -> bool:
        """Whether the machine is the sharer's own host, which people are to be warned of."""
        return self._direct is not None and self._direct.is_this_host

    async def open_tcp(self, host: str, port: int) -> End:
        """See Reach.open_tcp."""
        return await (await self._way(host)).open_tcp(host, port)

    async def open_udp(self, host: str, port: int, receiver: FlowReceiver) -> CountingFlow:
        """See Reach.open_udp."""
        return await (await self._way(host)).open_udp(host, port, receiver)

    def _moved(self, address: str) -> None:
        access = self.machine.ssh
        if self.link is not None and access is not None and access.host == self.machine.address:
            self.link.access = replace(access, host=address)
        self.on_moved(address)

    async def _log_in_elsewhere(self) -> list[SshAccess]:
        """Where the machine's SSH server may be by now."""
        access, seen = self.machine.ssh, await self._whereabouts.ask()
        if seen.ssh is not None or access is None:
            return [seen.ssh] if seen.ssh is not None else []
        if access.host != self.machine.address:
            return []
        return [replace(access, host=address) for address in seen.addresses[:MAX_PLACES]]

    async def _way(self, host: str) -> Reach:
        if self._direct is not None and not (host and is_loopback(host)):
            return self._direct
        if self.link is None:
            raise RefusedError(
                Code.UNSUPPORTED,
                f"the loopback of {self.machine.name} is reached through SSH, and there is none",
                "share it with --target ssh://USER@HOST",
            )
        async with self._ssh_lock:
            if self._ssh is None:
                try:
                    self._ssh = await self._stack.enter_async_context(
                        SshReach(self.link, self._exposed)
                    )
                except VshareError as error:
                    raise RefusedError(Code.HOST_UNREACHABLE, error.text, error.hint) from error
        return self._ssh
