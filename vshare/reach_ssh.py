"""Reach a machine through its SSH server: for machines without an address, and for loopbacks.

TCP is a `direct-tcpip` channel each; UDP a helper inside the machine (udp_helper.py). All share
one SSH connection (ssh_link.py), which is made again when it has died.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

import asyncssh

from tunnel.codes import Code
from tunnel.ends import End
from tunnel.errors import RefusedError, VshareError
from tunnel.flows import CountingFlow, FlowReceiver
from vshare import udp_helper
from vshare.exposed import Exposed
from vshare.machine import LOOPBACK, is_loopback, parse_ip
from vshare.neighbours import Address, unwrap
from vshare.reach import OPEN_TIMEOUT_SECONDS
from vshare.ssh_end import SshEnd, code_for_open_error
from vshare.ssh_link import SshLink
from vshare.udp_helper import SocatFlow, UdpHelper

# sshd(8) and dropbear(8): "client-address client-port server-address server-port".
_OWN_ADDRESS = "sh -c 'echo $SSH_CONNECTION'"
PATIENCE = 2.0  # seconds; a healthy machine opens a channel in milliseconds
MAX_SOCATS = 64  # processes inside the machine
MAX_REASON = 120  # characters of an SSH server's own words


class SshReach:
    """Host "" is the address at which the machine's SSH server was reached.

    So what listens on the machine's loopback only stays closed unless a loopback host is
    asked for; `own_is_loopback` says that the two are one (SSH came in through a forwarder).
    `link` is the caller's: it is entered and left outside. Other hosts are neighbours, for
    `exposed` to pick; the machine dials their addresses. To the machine this host may have an
    address that it does not have itself (a provider's NAT), so the one that SSH comes from counts.
    """

    def __init__(self, link: SshLink, exposed: Exposed | None = None) -> None:
        self.link = link
        self.own_address = ""
        self._exposed = exposed
        self._sharer: frozenset[Address] = frozenset()
        self._helper: UdpHelper | None = None
        self._helper_lock = asyncio.Lock()
        self._programs: tuple[str, ...] | None = None
        self._broken: set[str] = set()  # did not start, and are not waited for again
        self._socats: list[SocatFlow] = []

    @property
    def own_is_loopback(self) -> bool:
        """Whether host "" reaches the machine's loopback. False before the first use."""
        return is_loopback(self.own_address) if self.own_address else False

    async def __aenter__(self) -> Self:
        """Log in and learn the machine's own address. Raises VshareError."""
        await self._find_own_address()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the helpers; the link is the caller's."""
        for flow in self._socats:
            flow.close()
        if self._helper is not None:
            self._helper.close()

    async def open_tcp(self, host: str, port: int) -> End:
        """See Reach.open_tcp."""
        target = await self._target(host)
        try:
            async with asyncio.timeout(OPEN_TIMEOUT_SECONDS):
                return await self._open_channel(target, port)
        except TimeoutError:
            raise RefusedError(
                Code.TIMED_OUT, f"no answer from {target} port {port} in the machine"
            ) from None
        except asyncssh.ChannelOpenError as error:
            raise _refused(error, target, port) from error
        except (asyncssh.Error, OSError) as error:
            raise RefusedError(Code.LOST, f"the machine's SSH connection: {error}") from error

    async def _open_channel(self, target: str, port: int) -> End:
        """Where the connection has been silent, on a new one if it does not answer at all."""
        connection = await self._connection()
        try:
            async with asyncio.TaskGroup() as group:
                opening = group.create_task(_open(connection, target, port), name="SSH channel")
                await asyncio.wait([opening], timeout=PATIENCE)
                if not opening.done() and await self._checked(connection) is not connection:
                    opening.cancel()
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None  # there is one task, or what checked it
        if opening.cancelled():
            return await _open(await self._connection(), target, port)
        return opening.result()

    async def open_udp(self, host: str, port: int, receiver: FlowReceiver) -> CountingFlow:
        """See Reach.open_udp."""
        target = await self._target(host)
        async with self._helper_lock:
            if self._helper is None or not self._helper.alive:
                self._helper = await self._start_helper()
        if self._helper is None:
            return await self._open_socat(target, port, receiver)
        return self._helper.open(target, port, receiver)

    async def _start_helper(self) -> UdpHelper | None:
        """The first helper that starts; None: there is only socat. Raises RefusedError."""
        connection = await self._connection()
        failure = RefusedError(
            Code.UNSUPPORTED,
            "UDP unavailable: the machine has no address of its own, and none of python3, perl"
            " and socat inside, one of which is needed to carry UDP through SSH",
            "install python3, perl or socat in the machine",
        )
        for program in await self._find_programs():
            if program == "socat":
                return None
            try:
                return await udp_helper.start(connection, program)
            except RefusedError as error:
                failure = error
                if not connection.is_closed():
                    self._broken.add(program)
        raise failure

    async def _open_socat(self, target: str, port: int, receiver: FlowReceiver) -> CountingFlow:
        if parse_ip(target) is None:
            raise RefusedError(
                Code.UNSUPPORTED, f"UDP unavailable: socat is given addresses only, not {target!r}"
            )
        self._socats = [flow for flow in self._socats if flow.alive]
        if len(self._socats) >= MAX_SOCATS:
            raise RefusedError(Code.BUSY, f"{MAX_SOCATS} UDP flows through socat are the limit")
        connection = await self._connection()
        flow = await udp_helper.open_socat(connection, target, port, receiver)
        self._socats.append(flow)
        return flow

    async def _connection(self) -> asyncssh.SSHClientConnection:
        """The link's connection. Raises RefusedError in place of VshareError."""
        try:
            return await self.link.connection()
        except VshareError as error:
            raise RefusedError(Code.HOST_UNREACHABLE, error.text, error.hint) from error

    async def _checked(
        self, connection: asyncssh.SSHClientConnection
    ) -> asyncssh.SSHClientConnection:
        """See SshLink.checked. Raises RefusedError."""
        try:
            return await self.link.checked(connection)
        except VshareError as error:
            raise RefusedError(Code.HOST_UNREACHABLE, error.text, error.hint) from error

    async def _target(self, host: str) -> str:
        if host and is_loopback(host):
            # Only the machine itself may say what its loopback's names are.
            return LOOPBACK if parse_ip(host) is None else host
        if not self.own_address:
            await self._find_own_address()
        if not host:
            return self.own_address
        if self._exposed is None:
            raise RefusedError(
                Code.NOT_ALLOWED, f"only the shared machine itself can be reached, not {host!r}"
            )
        return await self._exposed.pick(host, self._sharer)

    async def _find_own_address(self) -> None:
        words = (await self.link.run(_OWN_ADDRESS)).decode("ascii", "replace").split()
        client, own = (_parse(words[0]), _parse(words[2])) if len(words) == 4 else (None, None)
        self._sharer = frozenset((unwrap(client),)) if client else frozenset()
        self.own_address = str(own) if own else LOOPBACK

    async def _find_programs(self) -> tuple[str, ...]:
        """Which of python3, perl and socat the machine has. Raises RefusedError."""
        if self._programs is None:
            try:
                found = await self.link.run(udp_helper.PROBE)
            except VshareError as error:
                raise RefusedError(Code.UNSUPPORTED, f"UDP unavailable: {error.text}") from error
            names = {line.rpartition("/")[2] for line in found.decode("utf-8", "replace").split()}
            self._programs = tuple(each for each in udp_helper.PROGRAMS if each in names)
        return tuple(each for each in self._programs if each not in self._broken)


async def _open(connection: asyncssh.SSHClientConnection, target: str, port: int) -> End:
    _, end = await connection.create_connection(SshEnd, target, port)
    return end  # type: ignore[return-value]  # asyncssh: the factory's base class


def _parse(word: str) -> Address | None:
    return parse_ip(word.partition("%")[0])


def _refused(error: asyncssh.ChannelOpenError, host: str, port: int) -> RefusedError:
    code = code_for_open_error(error)
    said = "".join(each for each in error.reason[:MAX_REASON] if each.isprintable()).lower()
    text = f"{host} port {port} in the machine: {said or code.name.lower()}"
    if code is Code.NOT_ALLOWED:
        hint = "the machine's SSH server forbids forwarding; set AllowTcpForwarding yes there"
        return RefusedError(code, text, hint)
    return RefusedError(code, text)
