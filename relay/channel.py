"""A control channel's WebSocket (docs/protocol.md 4): thousands are open, and nearly all idle.

So there is no task, no queue and no timer for any of them: what arrives is handled in the call
that brings it, and who went silent is found by looking at all of them from time to time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from typing import Protocol, cast

from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import OPEN, SERVER
from websockets.protocol import Protocol as WebSocket
from websockets.server import ServerProtocol

from tunnel.control import MAX_MESSAGE, PATH, SILENCE_ENDS

SEND_WITHIN = 10.0  # seconds in which a full send buffer has to drain; who does not read is ended
CLOSE_WITHIN = 2.0  # seconds for the peer's answer to a close frame
POLICY_VIOLATION = 1008  # RFC 6455 7.4.1
SERVICE_RESTART = 1012  # IANA's WebSocket close codes


class Session(Protocol):
    """What is spoken on a channel."""

    def opened(self) -> None:
        """The WebSocket is open: `Channel.send` may be used."""

    def received(self, text: bytes) -> None:
        """One text message."""

    def lost(self) -> None:
        """The channel has ended; called once, if it was opened."""


class Channel(asyncio.Protocol):
    """The server's side of one WebSocket, from its upgrade request on.

    `open_session(channel)` makes what speaks on it; `on_over(channel)` is called when the
    connection has ended. `certificate` (DER) is what the relay showed on this connection, whatever
    it shows by now; empty without TLS. A request without TLS, or for another path, is refused.
    `address` is whence it comes.
    """

    __slots__ = (
        "_is_over", "_loop", "_on_over", "_open_session", "_part", "_session", "_stuck",
        "_transport", "_ws", "address", "certificate", "heard_at",
    )  # fmt: skip

    def __init__(
        self,
        open_session: Callable[[Channel], Session],
        on_over: Callable[[Channel], None],
        certificate: bytes,
        address: str = "",
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._open_session, self._on_over = open_session, on_over
        self.certificate, self.address = certificate, address
        self.heard_at = self._loop.time()
        self._transport: asyncio.Transport
        self._ws: WebSocket = ServerProtocol()
        self._session: Session | None = None
        self._part = b""  # of a message that comes in several frames
        self._stuck: asyncio.TimerHandle | None = None
        self._is_over = False  # for the session: what still comes is not for it

    # -- for the session

    def send(self, text: str) -> None:
        """Send one message; nothing, where the channel has ended."""
        if self._ws.state is OPEN:
            self._ws.send_text(text.encode())
            self._flush()

    def close(self, code: int) -> None:
        """End the channel; what was sent before still arrives."""
        self._is_over = True
        if self._ws.state is OPEN:
            self._ws.send_close(code)
            self._flush()
            self._loop.call_later(CLOSE_WITHIN, self._transport.abort)

    def send_away(self) -> None:
        """Close it so that the peer connects again, and let its session be: it is not told."""
        self._session = None
        self.close(SERVICE_RESTART)

    def abort(self) -> None:
        """End the connection at once."""
        self._transport.abort()

    def check(self, now: float) -> None:
        """End it if the share has been silent for too long: it sends pings."""
        if now - self.heard_at > SILENCE_ENDS:
            self._transport.abort()

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.BaseProtocol."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        self.heard_at = self._loop.time()
        self._ws.receive_data(data)
        self._flush()
        for event in self._ws.events_received():
            if isinstance(event, Request):
                self._answer(event)
            elif isinstance(event, Frame):
                self._frame_received(event)

    def eof_received(self) -> None:
        """See asyncio.Protocol."""
        self._ws.receive_eof()
        self._flush()

    def pause_writing(self) -> None:
        """See asyncio.BaseProtocol."""
        self._stuck = self._loop.call_later(SEND_WITHIN, self._transport.abort)
        self._transport.pause_reading()  # what comes may want answers

    def resume_writing(self) -> None:
        """See asyncio.BaseProtocol."""
        if self._stuck is not None:
            self._stuck.cancel()
            self._stuck = None
            self._transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.BaseProtocol."""
        if self._stuck is not None:
            self._stuck.cancel()
        session, self._session = self._session, None
        if session is not None:
            session.lost()
        self._on_over(self)

    def _answer(self, request: Request) -> None:
        handshake = self._ws
        assert isinstance(handshake, ServerProtocol)
        if request.path.partition("?")[0] != PATH:
            answer = handshake.reject(HTTPStatus.NOT_FOUND, "There is no WebSocket here.\n")
        elif not self.certificate:  # what is signed names the certificate
            answer = handshake.reject(HTTPStatus.FORBIDDEN, "Shares come with TLS.\n")
        else:
            answer = handshake.accept(request)
        handshake.send_response(answer)
        self._flush()
        if handshake.state is OPEN:  # what remembers the request is needed no more
            self._ws = WebSocket(SERVER, max_size=MAX_MESSAGE)
            self._session = self._open_session(self)
            self._session.opened()

    def _frame_received(self, frame: Frame) -> None:
        if frame.opcode is Opcode.BINARY:
            self.close(POLICY_VIOLATION)
        if frame.opcode not in (Opcode.TEXT, Opcode.CONT) or self._is_over:
            return
        self._part += frame.data  # ServerProtocol bounds the whole
        if frame.fin and self._session is not None:
            text, self._part = self._part, b""
            self._session.received(text)

    def _flush(self) -> None:
        for data in self._ws.data_to_send():
            if data:
                self._transport.write(data)
            else:  # the end of the stream; TLS has no half-close
                self._transport.close()
