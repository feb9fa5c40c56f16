"""Which sockets carry visitors to whom, so that they can be cut when they have to be."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator, KeysView


class Carried:
    """By a name of what they have in common: the share, the token of their shares."""

    def __init__(self) -> None:
        self._socks: dict[str, set[socket.socket]] = {}  # no empty sets

    def keys(self) -> KeysView[str]:
        """For whom there are any."""
        return self._socks.keys()

    @contextlib.contextmanager
    def carrying(self, key: str, sock: socket.socket) -> Iterator[None]:
        """`sock` is among them while the block runs. An empty key: it is not."""
        if not key:
            yield
            return
        socks = self._socks.setdefault(key, set())
        socks.add(sock)
        try:
            yield
        finally:
            socks.discard(sock)
            if not socks and self._socks.get(key) is socks:
                del self._socks[key]

    def cut(self, key: str) -> None:
        """End them all, at once; whoever uses them sees it, and closes them."""
        for sock in self._socks.get(key, ()):
            with contextlib.suppress(OSError):  # it has just ended
                sock.shutdown(socket.SHUT_RDWR)
