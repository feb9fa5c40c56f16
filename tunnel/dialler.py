"""Connecting to a host: Happy Eyeballs (RFC 8305), since uvloop's create_connection has none."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket

from tunnel.codes import Code, code_for_os_error
from tunnel.errors import RefusedError

ATTEMPT_DELAY = 0.25  # seconds between attempts: RFC 8305 section 5's recommendation
MAX_ADDRESSES = 8  # tried per host; more would only prolong a failure

Address = tuple[socket.AddressFamily, tuple[str, int] | tuple[str, int, int, int]]


def tune(sock: socket.socket) -> None:
    """What every TCP socket of ours gets: no delay for small messages, and keep-alives."""
    if sock.family in (socket.AF_INET, socket.AF_INET6):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)


async def resolve(host: str, port: int) -> list[Address]:
    """Addresses of `host`, families taking turns (RFC 8305 section 4), IPv6 first.

    Names below `.localhost` are loopback (RFC 6761 6.3) on every system. Raises
    RefusedError(unknown-host).
    """
    name = host.rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        host = "localhost"
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        raise RefusedError(Code.UNKNOWN_HOST, f"cannot resolve {host!r}: {error}") from error
    families: dict[int, list[Address]] = {}
    for family, _, _, _, place in found:
        if family in (socket.AF_INET, socket.AF_INET6):
            families.setdefault(family, []).append((family, place))  # type: ignore[arg-type]  # typeshed leaves the address open
    turns = [families[family] for family in sorted(families, reverse=True)]
    mixed = [one for group in itertools.zip_longest(*turns) for one in group if one is not None]
    return mixed[:MAX_ADDRESSES]


async def dial(host: str, port: int, deadline: float) -> socket.socket:
    """A connected, non-blocking, tuned socket; the caller closes it.

    `deadline` is in seconds from now, for resolving and all attempts together. Raises
    RefusedError with the code of the first attempt that failed.
    """
    try:
        async with asyncio.timeout(deadline):
            return await _race(await resolve(host, port))
    except TimeoutError:
        raise RefusedError(
            Code.TIMED_OUT, f"no answer from {host}:{port} in {deadline:g} s"
        ) from None
    except OSError as error:
        reason = error.strerror or str(error)
        raise RefusedError(
            code_for_os_error(error), f"cannot connect to {host}:{port}: {reason}"
        ) from error


async def _race(addresses: list[Address]) -> socket.socket:
    """Start attempts one after another, the next when one fails or is slow; the first wins."""
    errors: list[OSError] = []
    winner: socket.socket | None = None
    attempts: set[asyncio.Task[socket.socket | OSError]] = set()

    async with asyncio.TaskGroup() as group:
        waiting = list(addresses)
        while waiting or attempts:
            if waiting:
                attempts.add(group.create_task(_attempt(waiting.pop(0))))
            done, attempts = await asyncio.wait(
                attempts,
                timeout=ATTEMPT_DELAY if waiting else None,
                return_when=asyncio.FIRST_COMPLETED,
            )
            for task in done:
                result = task.result()
                if isinstance(result, OSError):
                    errors.append(result)
                elif winner is None:
                    winner = result
                else:
                    result.close()
            if winner is not None:
                break
        for task in attempts:
            task.cancel()
    for task in attempts:
        with contextlib.suppress(asyncio.CancelledError):
            late = task.result()
            if isinstance(late, socket.socket):
                late.close()
    if winner is None:
        raise errors[0] if errors else OSError("no usable address")
    return winner


async def _attempt(address: Address) -> socket.socket | OSError:
    family, place = address
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, place)
        tune(sock)
    except OSError as error:
        sock.close()
        return error
    except BaseException:
        sock.close()
        raise
    return sock
