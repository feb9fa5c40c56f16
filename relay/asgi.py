"""Hands accepted connections to uvicorn's protocol classes; the only module that knows them."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import ssl
from collections.abc import Callable
from typing import Any

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from relay.certificate import ServerIdentity
from relay.channel import Channel, Session
from relay.front import Visitor
from relay.limits import Admission
from relay.routes import HTTP_1_1
from tunnel.source import source_of

FIRST_REQUEST_WITHIN = 10.0  # seconds from the hand-over, TLS handshake included
REQUEST_WITHIN = 20.0  # seconds from a request's first byte to its last: forms are small
HANDSHAKE_WITHIN = 5.0  # seconds
KEEP_ALIVE = 15  # seconds that an idle connection stays
MAX_HEAD = 16 * 1024  # bytes
ABORT_TURNS = 3  # turns of the loop until an aborted transport has told its protocol
LOOK_EVERY = 5.0  # seconds between looks at who went silent


class _Http(H11Protocol):
    """uvicorn's HTTP protocol that says when it is done with its connection, and leaves WebSockets
    to `make_channel`."""

    def __init__(
        self, over: asyncio.Event, make_channel: Callable[[], Channel], **arguments: Any
    ) -> None:
        super().__init__(**arguments)
        self._over = over
        self._make_channel = make_channel
        self._slow: asyncio.TimerHandle | None = None  # while a request comes
        # uvicorn calls it like the class, once, when a client upgrades
        self.ws_protocol_class = self._web_socket  # type: ignore[assignment]  # a factory will do

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol. Who sends a request's parts slowly, one by one, is not waited
        for."""
        if self._slow is None:
            self._slow = self.loop.call_later(REQUEST_WITHIN, self.transport.abort)
        super().data_received(data)
        if self.conn.their_state not in (h11.IDLE, h11.SEND_BODY):
            self._forget_slow()

    def _forget_slow(self) -> None:
        if self._slow is not None:
            self._slow.cancel()
            self._slow = None

    def _web_socket(self, **_: Any) -> Channel:
        self._forget_slow()
        self._over.set()
        return self._make_channel()

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.BaseProtocol."""
        super().connection_lost(exc)
        self._forget_slow()
        self._over.set()


class AsgiServer:
    """Serves an ASGI application on connections that somebody else accepted; a WebSocket is the
    control channel, and gets its session from `open_session`."""

    def __init__(
        self, app: ASGIApp, open_session: Callable[[Channel], Session], admission: Admission
    ) -> None:
        self._open_session, self._admission = open_session, admission
        self._channels: set[Channel] = set()
        self._away: set[Channel] = set()  # those that are being closed
        self._config = uvicorn.Config(
            app,
            http=H11Protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            proxy_headers=False,  # nobody in between is trusted with who comes
            access_log=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=KEEP_ALIVE,
            h11_max_incomplete_event_size=MAX_HEAD,
        )
        self._config.load()
        self._state = ServerState()

    async def serve(self, visitor: Visitor, shown: ServerIdentity | None) -> None:
        """Serve a visitor (whose first bytes are unread) until its connection is over, or has
        become a control channel, which is kept; with TLS, where an identity is `shown`.

        Raises LostError.
        """
        loop = asyncio.get_running_loop()
        over = asyncio.Event()
        http = _Http(
            over,
            lambda: self._make_channel(visitor, shown),
            config=self._config,
            server_state=self._state,
            app_state={},
            _loop=loop,
        )
        tls = shown.context(HTTP_1_1) if shown else None
        try:
            source = source_of(visitor.address)
            with self._admission.handshake(source) if tls else contextlib.nullcontext():
                transport, _ = await loop.connect_accepted_socket(
                    lambda: http,
                    visitor.sock,
                    ssl=tls,
                    ssl_handshake_timeout=HANDSHAKE_WITHIN if tls else None,
                )
        except (OSError, ssl.SSLError):  # a stranger's handshake that came to nothing
            visitor.sock.close()
            return
        try:
            timer = loop.call_later(FIRST_REQUEST_WITHIN, _abort_if_silent, http, transport)
            await over.wait()
            timer.cancel()
        finally:
            if not over.is_set():
                transport.abort()

    def _make_channel(self, visitor: Visitor, shown: ServerIdentity | None) -> Channel:
        leave = visitor.keep()

        def on_over(channel: Channel) -> None:
            self._channels.discard(channel)
            self._away.discard(channel)
            leave()

        der = shown.der if shown else b""
        channel = Channel(self._open_session, on_over, der, visitor.address)
        self._channels.add(channel)
        return channel

    def send_away(self, count: int) -> int:
        """Close so many channels, so that their shares connect elsewhere, and tell nobody here that
        the shares are gone; how many it was. What asks for pages is not waited for."""
        for connection in list(self._state.connections):
            connection.shutdown()
        leaving = list(itertools.islice(self._channels, count))
        for channel in leaving:
            self._channels.discard(channel)
            self._away.add(channel)
            channel.send_away()
        return len(leaving)

    async def keep_house(self) -> None:
        """Run until cancelled: end the channels that are silent."""
        while True:
            await asyncio.sleep(LOOK_EVERY)
            now = asyncio.get_running_loop().time()
            for channel in list(self._channels):
                channel.check(now)

    async def close(self) -> None:
        """End the channels that are left, and the application's calls that are still running."""
        await asyncio.sleep(0)  # what was said last leaves with this turn of the loop
        for channel in (*self._channels, *self._away):
            channel.abort()
        for task in list(self._state.tasks):
            task.cancel()
        if self._state.tasks:
            await asyncio.wait(self._state.tasks)
        for _ in range(ABORT_TURNS):
            await asyncio.sleep(0)


def _abort_if_silent(http: _Http, transport: asyncio.Transport) -> None:
    """A slow sender of its first head gets no more time; uvicorn has no deadline for that."""
    cycle: object = http.cycle  # uvicorn's annotation leaves out the None it starts with
    if cycle is None:
        transport.abort()
