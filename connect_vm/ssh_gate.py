"""The way of the system's `ssh` into the tunnel: a port of this host's loopback, for one user.

Other users of this host have no key, but they are not to reach the machine's SSH server either:
a connection whose other end is not a socket of this user's is closed before a byte goes through.
(A command that hands `ssh` a connected socket, ProxyUseFdpass, would need no port; but it is
run by the user's shell, whatever that is, and costs one more process.)
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import struct
from pathlib import Path
from types import TracebackType

from connect_vm.accepting import accept
from connect_vm.opener import Opener
from tunnel.dialler import tune
from tunnel.ends import bridge
from tunnel.errors import RefusedError, VshareError
from tunnel.socket_end import SocketEnd

MAX_CONNECTIONS = 16  # `ssh` needs one; a person may open some more to the same port
_TABLE = Path("/proc/net/tcp")
_ESTABLISHED = "01"  # include/net/tcp_states.h

log = logging.getLogger(__name__)


def owner_of(table: str, local: tuple[str, int], remote: tuple[str, int]) -> int | None:
    """The uid of the socket from `local` to `remote` (IPv4), by /proc/net/tcp (proc(5))."""
    wanted = [_hex(local), _hex(remote), _ESTABLISHED]
    for line in table.splitlines()[1:]:
        words = line.split()
        if words[1:4] == wanted:
            return int(words[7])
    return None


def _hex(address: tuple[str, int]) -> str:
    (number,) = struct.unpack("=I", socket.inet_aton(address[0]))  # the kernel prints it as it is
    return f"{number:08X}:{address[1]:04X}"


class SshGate:
    """Async context manager; `port` leads to `remote_port` of the shared machine inside it.

    `error` is what the share last refused with, since `ssh` cannot know.
    """

    def __init__(self, opener: Opener, remote_port: int) -> None:
        self._opener = opener
        self._remote_port = remote_port
        self._free = asyncio.Semaphore(MAX_CONNECTIONS)
        self._group = asyncio.TaskGroup()
        self.error: VshareError | None = None

    async def __aenter__(self) -> SshGate:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setblocking(False)
        self.port: int = self._listener.getsockname()[1]
        await self._group.__aenter__()
        self._serving = self._group.create_task(self._serve(), name="ssh gate")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._serving.cancel()
        try:
            # An error of the body's is its own, not one of this group's.
            await self._group.__aexit__(None, None, None)
        finally:
            self._listener.close()

    async def _serve(self) -> None:
        async with asyncio.TaskGroup() as connections:
            while True:
                await self._free.acquire()
                sock, address = await accept(self._listener, "ssh")
                task = connections.create_task(self._carry(sock, address), name="ssh")
                task.add_done_callback(lambda _, sock=sock: self._done(sock))  # type: ignore[misc]  # mypy cannot infer a lambda's default

    def _done(self, sock: socket.socket) -> None:
        sock.close()  # for one that was cancelled before it began
        self._free.release()

    async def _carry(self, sock: socket.socket, address: tuple[str, int]) -> None:
        try:
            if not self._is_ours(address):
                log.warning("another user's connection to the port of ssh was closed")
                return
            tune(sock)
            stream = await self._opener.open("", self._remote_port)
        except RefusedError as error:
            hint = error.hint or "ask the sharer whether the machine's SSH server runs"
            self.error = RefusedError(error.code, f"no SSH connection: {error.text}", hint)
        except VshareError as error:
            self.error = error
        except OSError as error:  # it is gone already, or there is no /proc
            log.warning("a connection of ssh's could not be served: %s", error)
        else:
            self.error = None
            await bridge(SocketEnd(sock), stream)

    def _is_ours(self, address: tuple[str, int]) -> bool:
        table = _TABLE.read_text(encoding="ascii")
        return owner_of(table, address, ("127.0.0.1", self.port)) == os.getuid()
