"""Reach a machine that has an address: plain sockets, from the sharer's host."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import os
import socket
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from types import TracebackType
from typing import Self

from tunnel.codes import Code, code_for_os_error
from tunnel.ends import End
from tunnel.errors import RefusedError
from tunnel.flows import CountingFlow, FlowReceiver
from tunnel.socket_end import SocketEnd
from tunnel.udp_socket import dropped_by_kernel, enlarge
from vshare import own_addresses
from vshare.exposed import Exposed, IsOwn
from vshare.neighbours import Address, parse_address, unwrap, why_by_name_only, why_never
from vshare.reach import MAX_DATAGRAM, OPEN_TIMEOUT_SECONDS

# Datagrams delivered per wake-up, so that one busy flow does not hold up the others.
DATAGRAMS_PER_WAKE = 32
# A machine that was switched off says nothing: after a minute its streams end with an error.
_KEEP_ALIVE = {socket.TCP_KEEPIDLE: 15, socket.TCP_KEEPINTVL: 5, socket.TCP_KEEPCNT: 9}
MAX_PARSED = 256  # addresses whose parsed form is remembered; parsing one costs 20 us
# getaddrinfo can return many; more than these would not be tried within the deadline.
MAX_ADDRESSES = 4

_SockAddress = tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]  # as typeshed has it


@dataclass(frozen=True, slots=True)
class _Candidate:
    """An address to try; `may_be_own`: this host itself is meant, or was exposed by name."""

    family: socket.AddressFamily
    sock_address: _SockAddress
    may_be_own: bool


class DirectReach:
    """Dials `address`, the machine's, for host "", and exposed neighbours as they are named.

    This host's own addresses are never dialled, unless `address` was one when the share
    started. A name is looked up for each connection, since addresses change: should it lead to
    this host by then, or to an address where clouds keep credentials, it is refused.
    """

    def __init__(
        self,
        address: str,
        exposed: Exposed | None = None,
        is_own: IsOwn = own_addresses.is_own,
    ) -> None:
        self.address = address
        self._exposed = exposed
        self._is_own = is_own
        self._at_start: frozenset[Address] = frozenset()
        self._flows: set[DirectFlow] = set()
        self.is_this_host = False  # whether the machine is this host; known once entered
        if literal := parse_address(address):
            self._remember([literal])

    async def __aenter__(self) -> Self:
        """Look where the address leads at the start. A name that is unknown as yet is no error."""
        if parse_address(self.address) is None:
            with suppress(RefusedError, TimeoutError):
                async with asyncio.timeout(OPEN_TIMEOUT_SECONDS):
                    found = await self._look_up(self.address, 0, socket.SOCK_STREAM)
                self._remember([_address_of(sock_address) for _, sock_address in found])
        return self

    def _remember(self, found: list[Address]) -> None:
        self._at_start = frozenset(found)
        for address in found:
            with suppress(OSError):  # of a family that this host has not
                self.is_this_host = self.is_this_host or self._is_own(address)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close what is left of flows, which their guests may have come back for; who has them is
        told. Ends belong to their callers."""
        for flow in list(self._flows):
            flow.end()

    async def open_tcp(self, host: str, port: int) -> End:
        """See Reach.open_tcp."""
        return SocketEnd(await self._connect(host, port, socket.SOCK_STREAM))

    async def open_udp(self, host: str, port: int, receiver: FlowReceiver) -> CountingFlow:
        """See Reach.open_udp."""
        sock = await self._connect(host, port, socket.SOCK_DGRAM)
        flow = DirectFlow(sock, receiver, self._flows.discard)
        self._flows.add(flow)
        return flow

    async def _connect(self, host: str, port: int, kind: socket.SocketKind) -> socket.socket:
        where = f"{host or self.address} port {port}"
        try:
            async with asyncio.timeout(OPEN_TIMEOUT_SECONDS):
                candidates = await self._candidates(host, port, kind)
                return await _connect_first(candidates, kind)
        except TimeoutError:
            raise RefusedError(
                Code.TIMED_OUT, f"no answer from {where} in {OPEN_TIMEOUT_SECONDS:.0f} s"
            ) from None
        except OSError as error:
            # asyncio puts a text of its own into strerror.
            reason = os.strerror(error.errno).lower() if error.errno else str(error)
            raise RefusedError(code_for_os_error(error), f"{where}: {reason}") from error

    async def _candidates(self, host: str, port: int, kind: socket.SocketKind) -> list[_Candidate]:
        """The addresses to try. Raises RefusedError."""
        if host:
            return await self._neighbour(host, port, kind)
        candidates = []
        failure: Exception = RefusedError(
            Code.NOT_ALLOWED,
            f"{self.address!r} leads to the sharer's own host now, or to where no machine is",
        )
        for family, sock_address in await self._look_up(self.address, port, kind):
            try:
                if self._is_machine(_address_of(sock_address)):
                    candidates.append(_Candidate(family, sock_address, self.is_this_host))
            except OSError as error:  # of a family that this host has not; no more descriptors
                failure = error
        if not candidates:
            raise failure
        return candidates[:MAX_ADDRESSES]

    def _is_machine(self, address: Address) -> bool:
        """Raises OSError if that cannot be told."""
        if self._is_own(address):
            return self.is_this_host
        special = why_never(address) or why_by_name_only(address)
        return not special or address in self._at_start

    async def _neighbour(self, host: str, port: int, kind: socket.SocketKind) -> list[_Candidate]:
        if self._exposed is None:
            raise RefusedError(
                Code.NOT_ALLOWED, f"only the shared machine itself can be reached, not {host!r}"
            )
        literal = await self._exposed.pick(host)
        may_be_own = self._exposed.is_exact(ipaddress.ip_address(literal))
        found = await self._look_up(literal, port, kind)
        return [_Candidate(family, sock_address, may_be_own) for family, sock_address in found]

    async def _look_up(
        self, host: str, port: int, kind: socket.SocketKind
    ) -> list[tuple[socket.AddressFamily, _SockAddress]]:
        if (family := _family_of(host)) is not None:  # else a thread would be asked, each time
            return [(family, (host, port) if family == socket.AF_INET else (host, port, 0, 0))]
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(host, port, type=kind)
        except (socket.gaierror, UnicodeError) as error:
            raise RefusedError(Code.UNKNOWN_HOST, f"unknown host {host!r}") from error
        return [(info[0], info[4]) for info in found]


def _address_of(sock_address: _SockAddress) -> Address:
    """With its interface's index for a zone, where it has one."""
    text = str(sock_address[0]).partition("%")[0]
    if len(sock_address) == 4 and sock_address[3]:
        text += f"%{sock_address[3]}"
    return _parse(text)


@lru_cache(maxsize=MAX_PARSED)
def _parse(text: str) -> Address:
    return unwrap(ipaddress.ip_address(text))


@lru_cache(maxsize=MAX_PARSED)
def _family_of(host: str) -> socket.AddressFamily | None:
    """The family of a literal address; None for a name, and where an interface is named too."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    if address.version == 4:
        return socket.AF_INET
    return None if "%" in host else socket.AF_INET6


def connects_at_once(sock: socket.socket, address: _SockAddress) -> bool:
    """Begin to connect; whether that is done already, as it is within one host. Raises OSError.

    Else asyncio's sock_connect waits for it. What is near saves the event loop's turn, and a
    dozen of system calls.
    """
    error = sock.connect_ex(address)
    if error == errno.EINPROGRESS:
        error = sock.connect_ex(address)  # asks how far it is (connect(2), EALREADY)
    if error and error not in (errno.EINPROGRESS, errno.EALREADY):
        raise OSError(error, os.strerror(error))
    return not error


async def _connect_first(
    candidates: Iterable[_Candidate], kind: socket.SocketKind
) -> socket.socket:
    """The first address that answers. Raises the last OSError, or RefusedError."""
    failure = OSError(errno.EHOSTUNREACH, "no address")
    for each in candidates:
        sock = socket.socket(each.family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            _tune(sock, kind)
            if not connects_at_once(sock, each.sock_address):
                await asyncio.get_running_loop().sock_connect(sock, each.sock_address)
            if not each.may_be_own:
                _check_reached(sock, each)
        except OSError as error:
            sock.close()
            failure = error
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise failure


def _check_reached(sock: socket.socket, candidate: _Candidate) -> None:
    """Raise RefusedError if this very host was reached: then both ends have one address.

    The address may have become this host's after it was looked at.
    """
    if _address_of(sock.getsockname()) == _address_of(candidate.sock_address):
        raise RefusedError(Code.NOT_ALLOWED, "what answered is the sharer's own host")


def _tune(sock: socket.socket, kind: socket.SocketKind) -> None:
    if kind == socket.SOCK_STREAM:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEP_ALIVE.items():
            sock.setsockopt(socket.IPPROTO_TCP, option, value)
        return
    enlarge(sock)


class DirectFlow:
    """A connected UDP socket; its buffer is the kernel's, which drops what does not fit.

    `on_close(flow)` is called once.
    """

    def __init__(
        self,
        sock: socket.socket,
        receiver: FlowReceiver,
        on_close: Callable[[DirectFlow], None] = lambda flow: None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._sock = sock
        self._receiver = receiver
        self._on_close = on_close
        self._open = True
        self._dropped = 0
        self._loop.add_reader(sock, self._on_readable)

    @property
    def dropped(self) -> int:
        """See CountingFlow: those for the machine, and those that the kernel had no room for."""
        return self._dropped + (dropped_by_kernel(self._sock) if self._open else 0)

    def send(self, data: bytes) -> None:
        """See Flow.send."""
        if not self._open:
            return
        try:
            self._sock.send(data)
        except (BlockingIOError, InterruptedError):
            self._dropped += 1  # the kernel's buffer is full
        except OSError as error:
            self._failed(error)

    def close(self) -> None:
        """See Flow.close."""
        if self._open:
            self._dropped = self.dropped
            self._open = False
            self._loop.remove_reader(self._sock)
            self._sock.close()
            self._on_close(self)

    def end(self) -> None:
        """Close, and tell the receiver."""
        self.close()
        self._receiver.flow_closed()

    def _on_readable(self) -> None:
        for _ in range(DATAGRAMS_PER_WAKE):
            if not self._open:
                return
            try:
                data = self._sock.recv(MAX_DATAGRAM)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                self._failed(error)
                return
            self._receiver.datagram_received(data)

    def _failed(self, error: OSError) -> None:
        if error.errno in (errno.EMSGSIZE, errno.ENOBUFS, errno.EPERM):
            self._dropped += 1  # this datagram cannot go (too large, or a firewall's rule)
            return
        self.close()
        self._receiver.flow_refused(code_for_os_error(error))
