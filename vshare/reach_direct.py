"""Reach a machine that has an address: plain sockets, from the sharer's host."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Iterable
from types import TracebackType
from typing import Self

from tunnel.codes import Code, code_for_os_error
from tunnel.ends import End
from tunnel.errors import RefusedError
from tunnel.flows import Flow, FlowReceiver
from tunnel.socket_end import SocketEnd
from vshare.machine import is_loopback
from vshare.reach import MAX_DATAGRAM, OPEN_TIMEOUT_SECONDS

# Kernel buffer per flow (the kernel cuts it to net.core.rmem_max): some full-size datagrams.
UDP_BUFFER_BYTES = 1024 * 1024
# Datagrams delivered per wake-up, so that one busy flow does not hold up the others.
DATAGRAMS_PER_WAKE = 32
# getaddrinfo can return many; more than these would not be tried within the deadline.
MAX_ADDRESSES = 4

_AddressInfo = tuple[
    socket.AddressFamily,
    tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes],  # as typeshed has it
]


class DirectReach:
    """Dials `address`, the machine's, for host "", and other hosts as they are named.

    A host that is, or resolves to, a loopback address is refused: dialled from here it would
    be the sharer's. Only `address` itself may be one (a target on this very host).
    """

    def __init__(self, address: str) -> None:
        self.address = address

    async def __aenter__(self) -> Self:
        """Nothing to prepare."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Nothing is held: ends and flows belong to their callers."""

    async def open_tcp(self, host: str, port: int) -> End:
        """See Reach.open_tcp."""
        return SocketEnd(await self._connect(host, port, socket.SOCK_STREAM))

    async def open_udp(self, host: str, port: int, receiver: FlowReceiver) -> Flow:
        """See Reach.open_udp."""
        return DirectFlow(await self._connect(host, port, socket.SOCK_DGRAM), receiver)

    async def _connect(self, host: str, port: int, kind: socket.SocketKind) -> socket.socket:
        where = f"{host or self.address} port {port}"
        try:
            async with asyncio.timeout(OPEN_TIMEOUT_SECONDS):
                return await _connect_first(await self._resolve(host, port, kind), kind)
        except TimeoutError:
            raise RefusedError(
                Code.TIMED_OUT, f"no answer from {where} in {OPEN_TIMEOUT_SECONDS:.0f} s"
            ) from None
        except OSError as error:
            # asyncio puts a text of its own into strerror.
            reason = os.strerror(error.errno).lower() if error.errno else str(error)
            raise RefusedError(code_for_os_error(error), f"{where}: {reason}") from error

    async def _resolve(self, host: str, port: int, kind: socket.SocketKind) -> list[_AddressInfo]:
        if host and is_loopback(host):
            raise _loopback_refused(host)
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(host or self.address, port, type=kind)
        except (socket.gaierror, UnicodeError) as error:
            raise RefusedError(
                Code.UNKNOWN_HOST, f"unknown host {host or self.address!r}"
            ) from error
        if host and any(is_loopback(str(info[4][0])) for info in found):
            raise _loopback_refused(host)
        return [(info[0], info[4]) for info in found[:MAX_ADDRESSES]]


def _loopback_refused(host: str) -> RefusedError:
    return RefusedError(
        Code.NOT_ALLOWED,
        f"{host!r} is a loopback address, and the machine's own is reached through SSH only",
    )


async def _connect_first(found: Iterable[_AddressInfo], kind: socket.SocketKind) -> socket.socket:
    """The first address that answers. Raises the last OSError."""
    failure = OSError(errno.EHOSTUNREACH, "no address")
    for family, address in found:
        sock = socket.socket(family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            _tune(sock, kind)
            await asyncio.get_running_loop().sock_connect(sock, address)
        except OSError as error:
            sock.close()
            failure = error
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise failure


def _tune(sock: socket.socket, kind: socket.SocketKind) -> None:
    if kind == socket.SOCK_STREAM:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, UDP_BUFFER_BYTES)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, UDP_BUFFER_BYTES)


class DirectFlow:
    """A connected UDP socket; its buffer is the kernel's, which drops what does not fit."""

    def __init__(self, sock: socket.socket, receiver: FlowReceiver) -> None:
        self._loop = asyncio.get_running_loop()
        self._sock = sock
        self._receiver = receiver
        self._open = True
        self._loop.add_reader(sock, self._on_readable)

    def send(self, data: bytes) -> None:
        """See Flow.send."""
        if not self._open:
            return
        try:
            self._sock.send(data)
        except (BlockingIOError, InterruptedError):
            return  # the kernel's buffer is full: dropped
        except OSError as error:
            self._failed(error)

    def close(self) -> None:
        """See Flow.close."""
        if self._open:
            self._open = False
            self._loop.remove_reader(self._sock)
            self._sock.close()

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
            return  # this datagram cannot go (too large, or a firewall's rule); others can
        self.close()
        self._receiver.flow_refused(code_for_os_error(error))
