"""The image's `socket`: what the agent needs of it, without what takes long to import.

The standard library's makes enumerations of all its constants, for 0.3 s under emulation.
"""

import _socket
from _socket import *  # noqa: F403

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class socket(_socket.socket):  # type: ignore[no-redef]  # noqa: N801  (the usual name)
    """A socket that accepts sockets and closes itself."""

    def __enter__(self) -> "socket":
        return self

    def __exit__(self, *_how: object) -> None:
        self.close()

    def accept(self) -> "tuple[socket, Any]":
        """A connection, blocking, and its peer's address."""
        descriptor, address = self._accept()  # type: ignore[attr-defined]
        return socket(fileno=descriptor), address


def create_server(address: tuple[str, int], *, backlog: int) -> socket:
    """A listener for TCP over IPv4."""
    listener = socket(_socket.AF_INET, _socket.SOCK_STREAM)
    listener.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
    listener.bind(address)
    listener.listen(backlog)
    return listener
