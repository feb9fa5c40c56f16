"""The dashboard: the page of a running share, on 127.0.0.1."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import socket
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.exceptions import InvalidState

from tunnel.control_socket import Handler
from tunnel.errors import VshareError
from vshare.dashboard.app import Parts, make_app
from vshare.dashboard.doorkeeper import Doorkeeper
from vshare.dashboard.figures import Figures, Throughput
from vshare.dashboard.guard import Guard
from vshare.dashboard.overview import Overview
from vshare.dashboard.replay import Carry, Replays
from vshare.dashboard.request_log import RequestLog
from vshare.news import Newsroom
from vshare.requests import Request

HOST = "127.0.0.1"
BACKLOG = 64
MAX_CONNECTIONS = 64  # a browser has six; other users of the host can connect as well
FIRST_REQUEST_WITHIN = 10.0  # seconds
KEEP_ALIVE = 15  # seconds that an idle connection stays
MAX_HEAD = 16 * 1024  # bytes: cookies of all this host's servers are in it
MAX_MESSAGE = 4 * 1024  # bytes of what a page says on its WebSocket
ABORT_TURNS = 3  # turns of the loop until an aborted transport has told its protocol
LAST_WORDS = 1.0  # seconds for calls under way when the share ends
SECRET = 16  # bytes

_quiet = logging.getLogger("vshare.dashboard.uvicorn")  # faults are logged by the guard
_quiet.setLevel(logging.CRITICAL)


@dataclass(frozen=True, slots=True)
class Share:
    """What the dashboard is about. `log` is the Gallery of the share's stages; `table` as for the
    control socket; `carry` serves a stream as if a visitor had opened it."""

    log: RequestLog
    table: Mapping[type[Request], Handler]
    newsroom: Newsroom
    figures: Figures
    carry: Carry


class Dashboard:
    """Listens while it is entered. `port` 0 is any that is free.

    Entering raises VshareError: the port is taken. Nothing is kept of requests, and answers are
    not read, while no browser shows the page.
    """

    def __init__(self, share: Share, port: int = 0) -> None:
        self._share, self._port = share, port
        self.url = ""  # opens the page once, in one browser
        self._state = ServerState()

    def issue_url(self) -> str:
        """Another such URL."""
        return self._doorkeeper.issue_url()

    async def __aenter__(self) -> Dashboard:
        async with AsyncExitStack() as stack:
            sock = stack.enter_context(_listen(self._port))
            port = sock.getsockname()[1]
            self._doorkeeper = Doorkeeper(port, lambda: secrets.token_urlsafe(SECRET))
            self.url = self.issue_url()
            await self._start(stack, sock)
            self._stack = stack.pop_all()
        return self

    async def _start(self, stack: AsyncExitStack, sock: socket.socket) -> None:
        share, group = self._share, asyncio.TaskGroup()
        overview = Overview(share.table, share.newsroom, share.figures)
        throughput = Throughput(share.figures)
        replays = Replays(share.log, share.carry, group)
        parts = Parts(self._doorkeeper, share.log, overview, throughput, replays)
        config = _config(Guard(make_app(parts), self._doorkeeper))
        stack.enter_context(overview.listening())
        await stack.enter_async_context(group)
        looks = overview.run(lambda: not share.log.is_empty)
        for name, work in (("throughput", throughput.run()), ("overview", looks)):
            stack.callback(group.create_task(work, name=name).cancel)
        stack.push_async_callback(self._hang_up)
        stack.callback(replays.end_all)
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: _Http(config, self._state), sock=sock)
        stack.callback(server.close)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stack.__aexit__(kind, error, trace)

    async def _hang_up(self) -> None:
        """End all connections, and the application's calls that are still running."""
        for connection in list(self._state.connections):
            connection.shutdown()  # a WebSocket says goodbye, which ends its call
        await asyncio.sleep(0)
        for connection in list(self._state.connections):
            connection.transport.abort()  # calls that wait for a body hear of it
        if self._state.tasks:
            await asyncio.wait(self._state.tasks, timeout=LAST_WORDS)
        for task in list(self._state.tasks):
            task.cancel()
        if self._state.tasks:
            await asyncio.wait(self._state.tasks)
        for _ in range(ABORT_TURNS):
            await asyncio.sleep(0)


def _listen(port: int) -> socket.socket:
    sock = socket.socket()
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((HOST, port))
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        reason = (error.strerror or str(error)).lower()
        raise VshareError(
            f"the dashboard cannot listen on {HOST}:{port}: {reason}",
            "choose another port, or none",
        ) from error
    return sock


def _config(app: ASGIApp) -> uvicorn.Config:
    config = uvicorn.Config(
        app,
        http=H11Protocol,
        ws=_WebSocket,
        ws_max_size=MAX_MESSAGE,
        ws_per_message_deflate=False,  # it costs more than the way across the loopback
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=KEEP_ALIVE,
        h11_max_incomplete_event_size=MAX_HEAD,
    )
    config.load()
    return config


class _WebSocket(WebSocketsSansIOProtocol):
    """uvicorn's, which would log each call that is cancelled."""

    def __init__(self, config: uvicorn.Config, *others: Any, **named: Any) -> None:
        super().__init__(config, *others, **named)
        self.logger = _quiet

    def shutdown(self) -> None:
        """Say goodbye, unless the browser did just now."""
        with contextlib.suppress(InvalidState):
            super().shutdown()


class _Http(H11Protocol):
    """uvicorn's, with a limit to how many there are, and how long they say nothing."""

    def __init__(self, config: uvicorn.Config, state: ServerState) -> None:
        super().__init__(config, state, app_state={})
        self.logger = _quiet
        self._silence: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """See asyncio.BaseProtocol."""
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            transport.abort()
        self._silence = self.loop.call_later(FIRST_REQUEST_WITHIN, self._end_if_silent)

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.BaseProtocol."""
        if self._silence is not None:
            self._silence.cancel()
        super().connection_lost(exc)

    def _end_if_silent(self) -> None:
        scope: object = self.scope  # uvicorn's annotation leaves out the None it starts with
        if scope is None:
            self.transport.abort()
