"""The way to a machine as it was found: its address where it has one, SSH for the rest."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

from tunnel.codes import Code
from tunnel.ends import End
from tunnel.errors import RefusedError, VshareError
from tunnel.flows import CountingFlow, FlowReceiver
from vshare.exposed import Exposed
from vshare.machine import Machine, is_loopback
from vshare.reach import Reach
from vshare.reach_direct import DirectReach
from vshare.reach_ssh import SshReach
from vshare.ssh_link import SshLink


class MachineReach:
    """Picks per connection: direct, or SSH where only that leads there (loopback, no address).

    Hosts beside the machine are refused without `exposed`. `link` is the SSH connection that
    the reach uses (None without SSH); it is there for others to use too (listening.py), and
    is closed with the reach.
    """

    def __init__(self, machine: Machine, exposed: Exposed | None = None) -> None:
        self.machine = machine
        self._exposed = exposed
        self.link = SshLink(machine.ssh) if machine.ssh else None
        self._direct = DirectReach(machine.address, exposed) if machine.address else None
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
