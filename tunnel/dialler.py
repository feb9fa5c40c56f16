"""Connecting to a host: Happy Eyeballs (RFC 8305), since uvloop's create_connection has none."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import itertools
import os
import socket

from tunnel.codes import Code, code_for_os_error
from tunnel.errors import RefusedError

ATTEMPT_DELAY = 0.25  # seconds between attempts: RFC 8305 section 5's recommendation
MAX_ADDRESSES = 8  # tried per host; more would only prolong a failure
# Seconds of silence before the kernel probes, between probes, and probes that may fail
# (tcp(7)): a peer that vanished is noticed within a minute, where nothing else would tell, and
# middle boxes begin to forget what is silent for 30 s.
KEEP_IDLE, KEEP_INTERVAL, KEEP_COUNT = 20, 10, 3
MAX_REMEMBERED = 64  # hosts; a process dials its relay and little else

Address = tuple[socket.AddressFamily, tuple[str, int] | tuple[str, int, int, int]]


class LastGood:
    """Which address of a host was connected to last: the next attempt begins with it.

    So a family that is a black hole costs ATTEMPT_DELAY once and not for each connection
    (RFC 8305 section 4 lets history sort addresses).
    """

    def __init__(self) -> None:
        self._places: dict[tuple[str, int], Address] = {}

    def sort(self, host: str, port: int, addresses: list[Address]) -> list[Address]:
        """`addresses`, the one that was good first if it is among them."""
        good = self._places.get((host, port))
        if good not in addresses:
            return addresses
        return [good, *(each for each in addresses if each != good)]

    def remember(self, host: str, port: int, address: Address) -> None:
        """`address` was connected to; the host that was dialled longest ago may be forgotten."""
        self._places.pop((host, port), None)
        if len(self._places) >= MAX_REMEMBERED:
            del self._places[next(iter(self._places))]
        self._places[host, port] = address


def tune(sock: socket.socket) -> None:
    """What every TCP socket of ours gets: no delay for small messages, and keep-alives."""
    if sock.family in (socket.AF_INET, socket.AF_INET6):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEP_IDLE)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEP_INTERVAL)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEP_COUNT)


def reason_of(error: OSError) -> str:
    """What went wrong as strerror(3) says it, in lowercase: asyncio has texts of its own."""
    if error.errno and not isinstance(error, socket.gaierror):
        return os.strerror(error.errno).lower()
    return (error.strerror or str(error) or type(error).__name__).lower()


async def resolve(host: str, port: int) -> list[Address]:
    """Addresses of `host`, families taking turns (RFC 8305 section 4), the system's first first.

    Names below `.localhost` are loopback (RFC 6761 6.3) on every system. Raises
    RefusedError(unknown-host).
    """
    name = host.rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        host = "localhost"
    loop = asyncio.get_running_loop()
    try:
        if "%" in host:
            return [_with_zone(host, port)]
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        reason = reason_of(error) if isinstance(error, OSError) else "not a host name"
        raise RefusedError(Code.UNKNOWN_HOST, f"cannot resolve {host!r}: {reason}") from error
    families: dict[int, list[Address]] = {}
    for family, _, _, _, place in found:
        if family in (socket.AF_INET, socket.AF_INET6):
            families.setdefault(family, []).append((family, place))  # type: ignore[arg-type]  # typeshed leaves the address open
    turns = families.values()  # getaddrinfo has sorted them (RFC 6724)
    mixed = [one for group in itertools.zip_longest(*turns) for one in group if one is not None]
    return mixed[:MAX_ADDRESSES]


def _with_zone(host: str, port: int) -> Address:
    """An IPv6 literal with a zone: it stays in the text, since uvloop loses the scope's number.

    Raises gaierror for a zone that this host does not have. Does not block.
    """
    numeric = socket.AI_NUMERICHOST
    found = socket.getaddrinfo(host, port, socket.AF_INET6, socket.SOCK_STREAM, flags=numeric)
    _, _, flow, scope = found[0][4]  # type: ignore[misc]  # IPv6 addresses have four parts
    return socket.AF_INET6, (host, port, flow, scope)


async def dial(
    host: str, port: int, deadline: float, last_good: LastGood | None = None
) -> socket.socket:
    """A connected, non-blocking, tuned socket; the caller closes it.

    `deadline` is in seconds from now, for resolving and all attempts together. `last_good`
    is asked for the order, and told the outcome. Raises RefusedError with the code of the
    attempt that says most. Cancelled: nothing stays open.
    """
    try:
        async with asyncio.timeout(deadline):
            addresses = await resolve(host, port)
            if last_good is None:
                return await race(addresses)
            sock = await race(last_good.sort(host, port, addresses))
            with contextlib.suppress(OSError):  # it was reset already: its user will notice
                last_good.remember(host, port, (sock.family, sock.getpeername()))
            return sock
    except TimeoutError:
        raise RefusedError(
            Code.TIMED_OUT, f"no answer from {host}:{port} in {deadline:g} s"
        ) from None
    except OSError as error:
        text = f"cannot connect to {host}:{port}: {reason_of(error)}"
        raise RefusedError(code_for_os_error(error), text) from error


async def race(addresses: list[Address]) -> socket.socket:
    """Start attempts one after another, the next when one fails or is slow; the first wins.

    Raises OSError: "connection refused" before anything else, since somebody was there to
    say it. Every socket but the winner's is closed, however this ends.
    """
    made: list[socket.socket] = []
    winner: socket.socket | None = None
    try:
        async with asyncio.TaskGroup() as group:
            found = await _first(group, addresses, made)
        if isinstance(found, OSError):  # raised inside the group it would become a group
            raise found
        winner = found  # only here: leaving the group may still be cancelled
        return winner
    finally:
        for sock in made:
            if sock is not winner:
                sock.close()


async def _first(
    group: asyncio.TaskGroup, addresses: list[Address], made: list[socket.socket]
) -> socket.socket | OSError:
    errors: list[OSError] = []
    running: set[asyncio.Task[socket.socket | OSError]] = set()
    waiting = list(addresses)
    try:
        while waiting or running:
            if waiting:
                running.add(group.create_task(_attempt(waiting.pop(0), made), name="attempt"))
            done, running = await asyncio.wait(
                running,
                timeout=ATTEMPT_DELAY if waiting else None,
                return_when=asyncio.FIRST_COMPLETED,
            )
            for task in done:
                result = task.result()
                if not isinstance(result, OSError):
                    return result
                errors.append(result)
    finally:
        for task in running:
            task.cancel()
    refused = [error for error in errors if error.errno == errno.ECONNREFUSED]
    return (refused or errors or [OSError(errno.EADDRNOTAVAIL, "no address")])[0]


async def _attempt(address: Address, made: list[socket.socket]) -> socket.socket | OSError:
    """The connected socket, or why not; it is in `made` either way, for `race` to close."""
    family, place = address
    try:
        sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        made.append(sock)
        tune(sock)
        await asyncio.get_running_loop().sock_connect(sock, place)
    except OSError as error:
        return error
    return sock
