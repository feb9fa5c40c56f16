"""Which local ports lead to which ports of the machine: what is shared by name, and what the user
of this host wants (`--map`, `vconnect map`)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from types import TracebackType

from connect_vm.local_port import listen_at, listen_near, serve_port
from connect_vm.opener import Opener
from connect_vm.requests import ServerRow
from tunnel.errors import UsageError
from tunnel.follow import Server

MAX_BY_THEMSELVES = 64  # local ports that are taken because the share says so

log = logging.getLogger(__name__)


class LocalPorts:
    """Async context manager. `wanted` are local ports by the machine's; `automatic`: what the share
    names gets one by itself. Entering raises UsageError where one that is wanted is taken."""

    def __init__(self, opener: Opener, wanted: Mapping[int, int], *, automatic: bool) -> None:
        self._opener = opener
        self._wanted = dict(wanted)
        self._automatic = automatic
        self._dropped: set[int] = set()  # ports that the user wants on no local port
        self._servers: dict[str, Server] = {}
        self._locals: dict[int, tuple[int, asyncio.Task[None]]] = {}  # by the machine's port
        self._group = asyncio.TaskGroup()

    async def __aenter__(self) -> LocalPorts:
        await self._group.__aenter__()
        try:
            for port, local in self._wanted.items():
                self._open(port, local)
        except BaseException:
            self._close_all()
            await self._group.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close_all()
        await self._group.__aexit__(None, None, None)  # an error of the body's is its own

    @property
    def rows(self) -> list[ServerRow]:
        """What is shared by name, in the share's order, then what else has a local port."""
        named = {each.port for each in self._servers.values()}
        others = [Server("", port) for port in self._locals if port not in named]
        return [self._row(each) for each in (*self._servers.values(), *others)]

    def set_servers(self, servers: Sequence[Server]) -> None:
        """What is shared by name is this from now on."""
        before = {each.port for each in self._servers.values()}
        self._servers = {each.name: each for each in servers}
        now = {each.port for each in servers}
        self._dropped &= now
        for port in before - now - self._wanted.keys():
            self._close(port)
        if not self._automatic:
            return
        for port in dict.fromkeys(each.port for each in servers):
            by_itself = len(self._locals.keys() - self._wanted.keys())
            if port in self._locals or port in self._dropped or by_itself >= MAX_BY_THEMSELVES:
                continue
            try:
                self._open(port, 0)
            except UsageError as error:
                log.warning("port %d gets no local port: %s", port, error)

    def map(self, what: str, local: int) -> ServerRow:
        """Have `what` on the local port `local` (0: near its own). Raises UsageError."""
        server = self._find(what)
        earlier = self._locals.get(server.port)
        if earlier is None or local not in (0, earlier[0]):
            self._open(server.port, local)
        self._wanted[server.port] = self._locals[server.port][0]
        self._dropped.discard(server.port)
        return self._row(server)

    def unmap(self, what: str) -> ServerRow:
        """Have `what` on none, and cut what is open. Raises UsageError."""
        server = self._find(what)
        if server.port not in self._locals:
            raise UsageError(
                f"{what!r} is on no local port", "`vconnect servers` shows what is where"
            )
        self._close(server.port)
        self._wanted.pop(server.port, None)
        self._dropped.add(server.port)
        return self._row(server)

    def _find(self, what: str) -> Server:
        server = self._servers.get(what)
        if server is not None:
            return server
        if not (what.isascii() and what.isdecimal() and 1 <= int(what) <= 65_535):
            known = ", ".join(self._servers) or "none"
            raise UsageError(f"no server is shared as {what!r}", f"those that are: {known}")
        port = int(what)
        named = (each for each in self._servers.values() if each.port == port)
        return next(named, Server("", port))

    def _row(self, server: Server) -> ServerRow:
        local = self._locals[server.port][0] if server.port in self._locals else 0
        scheme = "https" if server.scheme == "https" else "http"  # nothing else of the share's
        url = f"{scheme}://localhost:{local}" if local else ""
        return ServerRow(server.name, server.port, server.scheme, local, url)

    def _open(self, port: int, local: int) -> None:
        """Raises UsageError."""
        listeners = listen_at(local) if local else listen_near(port)
        self._close(port)

        def done(_: asyncio.Task[None]) -> None:  # also where it was cancelled before it began
            for listener in listeners:
                listener.close()

        task = self._group.create_task(
            serve_port(listeners, self._opener, port), name=f"local port for {port}"
        )
        task.add_done_callback(done)
        self._locals[port] = listeners[0].getsockname()[1], task

    def _close(self, port: int) -> None:
        _, task = self._locals.pop(port, (0, None))
        if task is not None:
            task.cancel()

    def _close_all(self) -> None:
        for port in list(self._locals):
            self._close(port)
