"""Hands accepted connections to uvicorn's protocol classes; the only module that knows them."""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState

from tunnel.control import MAX_MESSAGE, PING_EVERY, SILENCE_ENDS

FIRST_REQUEST_WITHIN = 10.0  # seconds from the hand-over, TLS handshake included
HANDSHAKE_WITHIN = 5.0  # seconds
KEEP_ALIVE = 15  # seconds that an idle connection stays
MAX_HEAD = 16 * 1024  # bytes
MAX_QUEUE = 16  # control messages of one share not yet handled


class _Http(H11Protocol):
    """uvicorn's HTTP protocol that says when its connection is over."""

    def __init__(self, over: asyncio.Event, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._over = over
        self.upgraded = False
        # uvicorn calls it like the class, once, when a client upgrades
        self.ws_protocol_class = self._web_socket  # type: ignore[assignment]  # a factory will do

    def _web_socket(self, **arguments: Any) -> WebSocketsSansIOProtocol:
        self.upgraded = True
        return _WebSocket(self._over, **arguments)

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.BaseProtocol."""
        super().connection_lost(exc)
        self._over.set()


class _WebSocket(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket protocol that says when its connection is over."""

    def __init__(self, over: asyncio.Event, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._over = over

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.BaseProtocol."""
        super().connection_lost(exc)
        self._over.set()


class AsgiServer:
    """Serves an ASGI application on connections that somebody else accepted."""

    def __init__(self, app: ASGIApp) -> None:
        self._config = uvicorn.Config(
            app,
            http=H11Protocol,
            ws=WebSocketsSansIOProtocol,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=KEEP_ALIVE,
            h11_max_incomplete_event_size=MAX_HEAD,
            ws_max_size=MAX_MESSAGE,
            ws_max_queue=MAX_QUEUE,
            ws_ping_interval=PING_EVERY,
            ws_ping_timeout=SILENCE_ENDS - PING_EVERY,
            ws_per_message_deflate=False,
        )
        self._config.load()
        self._state = ServerState()

    async def serve(self, sock: socket.socket, tls: ssl.SSLContext | None) -> None:
        """Serve `sock` (whose first bytes are unread) until its connection is over."""
        loop = asyncio.get_running_loop()
        over = asyncio.Event()
        http = _Http(over, config=self._config, server_state=self._state, app_state={}, _loop=loop)
        try:
            transport, _ = await loop.connect_accepted_socket(
                lambda: http,
                sock,
                ssl=tls,
                ssl_handshake_timeout=HANDSHAKE_WITHIN if tls else None,
            )
        except (OSError, ssl.SSLError):  # a stranger's handshake that came to nothing
            sock.close()
            return
        try:
            timer = loop.call_later(FIRST_REQUEST_WITHIN, _abort_if_silent, http, transport)
            await over.wait()
            timer.cancel()
        finally:
            if not over.is_set():
                transport.abort()

    async def close(self) -> None:
        """Cancel the application's calls that are still running."""
        for task in list(self._state.tasks):
            task.cancel()
        if self._state.tasks:
            await asyncio.wait(self._state.tasks)


def _abort_if_silent(http: _Http, transport: asyncio.Transport) -> None:
    """A slow sender of its first head gets no more time; uvicorn has no deadline for that."""
    cycle: object = http.cycle  # uvicorn's annotation leaves out the None it starts with
    if cycle is None and not http.upgraded:
        transport.abort()
