"""Addresses on the loopback at which nobody is, in the two ways there are."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

FILLERS = 3  # a backlog of 0 takes one or two connections, by the kernel


@contextlib.contextmanager
def silent() -> Iterator[tuple[str, int]]:
    """Host and port of a listener whose backlog is full: its SYNs are dropped."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        host, port = listener.getsockname()
        for _ in range(FILLERS):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex((host, port))
        yield host, port


def refusing() -> int:
    """A port of 127.0.0.1 that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
