"""The sockets at which a relay listens: its own, or those of the relay that it takes over from.

A listening socket that is passed on is the same one in the kernel: who has connected, and was not
accepted yet, waits in it, and is answered by whichever process accepts next.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator, Sequence

from relay.front import BACKLOG
from tunnel.errors import VshareError

Place = tuple[str, int]  # host and port as configured; port 0: any


class Listening:
    """Gives listening, non-blocking sockets, of `inherited` those whose places they are.

    `close` is to be called at the end: all are this object's to close.
    """

    def __init__(self, inherited: Sequence[tuple[Place, socket.socket]] = ()) -> None:
        self._inherited = list(inherited)
        self.open: list[tuple[Place, socket.socket]] = []  # by what was asked for

    def __enter__(self) -> Listening:
        return self

    def __exit__(self, *_: object) -> None:
        for _place, sock in (*self._inherited, *self.open):
            sock.close()

    @contextlib.contextmanager
    def at(self, host: str, port: int, option: str = "--listen") -> Iterator[socket.socket]:
        """A socket that listens there while the block runs. Raises VshareError."""
        sock = self._take((host, port)) or listen(host, port, option)
        entry = ((host, port), sock)
        self.open.append(entry)
        try:
            yield sock
        finally:
            self.open.remove(entry)
            sock.close()

    def _take(self, place: Place) -> socket.socket | None:
        for entry in self._inherited:
            if entry[0] == place:
                self._inherited.remove(entry)
                return entry[1]
        return None


def listen(host: str, port: int, option: str = "--listen") -> socket.socket:
    """A listening, non-blocking socket; the caller closes it. Raises VshareError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        family, _, _, _, place = socket.getaddrinfo(
            host, port, family, socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        both = family == socket.AF_INET6 and host == "::"  # IPv4 visitors come as ::ffff:a.b.c.d
        sock = socket.create_server(place[:2], family=family, backlog=BACKLOG, dualstack_ipv6=both)
    except (OSError, ValueError) as error:  # not a host name, or a host without any IPv6
        reason = getattr(error, "strerror", None) or str(error)
        raise VshareError(
            f"cannot listen on {host}:{port}: {reason}",
            f"choose another address with {option} HOST:PORT; ports below 1024 need privileges",
        ) from error
    sock.setblocking(False)
    return sock


async def at_once() -> None:
    """Nobody has to be waited for before the first is let in."""
