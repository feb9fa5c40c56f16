"""Tells when this host's network changes: an address, a link or a route came or went.

Connections that were made over another network are dead without a word. The kernel tells of
changes over a netlink socket (rtnetlink(7)); where there is none, nothing is told, and what is dead
is found out by silence (tunnel/liveness.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import Callable, Iterator

# rtnetlink(7): groups to listen to. Of a change's details nothing is used.
RTMGRP_LINK = 0x1
RTMGRP_IPV4_IFADDR = 0x10
RTMGRP_IPV4_ROUTE = 0x40
RTMGRP_IPV6_IFADDR = 0x100
GROUPS = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_IFADDR
READ = 64 * 1024  # bytes: many messages
SETTLES_IN = 0.1  # seconds: one change is told in several messages
EVERY = 1.0  # seconds between two tellings; a host where containers come and go has many
_GONE = (errno.EADDRNOTAVAIL, errno.ENODEV)  # the latter of an IPv6 address with its interface


@contextlib.contextmanager
def watch_network(on_change: Callable[[], None]) -> Iterator[None]:
    """Call `on_change()` in the loop's thread, soon after something changed."""
    watch = _Watch(on_change)
    try:
        yield
    finally:
        watch.close()


def is_stranded(sock: socket.socket | None) -> bool:
    """Whether the address that `sock` has here is none of this host's any more: then nothing that
    is sent to it arrives, and nobody says so. None: what uvloop has of a transport that closes."""
    if sock is None or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return False
    try:
        host, _, *rest = sock.getsockname()
        with socket.socket(sock.family, socket.SOCK_DGRAM) as trial:
            trial.bind((host, 0, *rest))
    except OSError as error:
        return error.errno in _GONE
    return False


class _Watch:
    def __init__(self, on_change: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_change = on_change
        self._timer: asyncio.TimerHandle | None = None
        self._told_at = self._loop.time() - EVERY
        self._sock = _open()
        if self._sock is not None:
            self._loop.add_reader(self._sock, self._on_readable)

    def _on_readable(self) -> None:
        if self._sock is None:
            return
        try:
            self._sock.recv(READ)
        except BlockingIOError:
            return
        except OSError:
            pass  # ENOBUFS: some were dropped, so there were some
        if self._timer is None:
            wait = max(SETTLES_IN, self._told_at + EVERY - self._loop.time())
            self._timer = self._loop.call_later(wait, self._tell)

    def _tell(self) -> None:
        self._timer = None
        self._told_at = self._loop.time()
        self._on_change()

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._sock is not None:
            self._loop.remove_reader(self._sock)
            self._sock.close()
            self._sock = None


def _open() -> socket.socket | None:
    try:
        sock = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE
        )
    except (OSError, AttributeError):  # no Linux, or not allowed
        return None
    try:
        sock.bind((0, GROUPS))
    except OSError:
        sock.close()
        return None
    return sock
