"""The guest page's WebSockets: an End in the machine's place, without a task.

What a visitor's browser does not take in time is not queued here: `is_full` says so, and who talks
on the socket leaves out what the browser has missed (docs/protocol.md 8.9, 8.8).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import OPEN
from websockets.server import ServerProtocol

from tunnel.codes import Code
from tunnel.ends import Bytes, End
from tunnel.errors import RemoteProtocolError
from vshare.guests import Guest

MAX_MESSAGE = 8 * 1024  # bytes of what a page says: INPUT has at most 4 KiB
PING_EVERY = 20.0  # seconds; routers forget what is silent for a minute
SILENCE_ENDS = 60.0  # seconds without a word, a pong included
GOING_AWAY, POLICY_VIOLATION, TRY_AGAIN_LATER = 1001, 1008, 1013  # RFC 6455 7.4.1
OUT = 4001  # a close code of our own (RFC 6455 7.4.2): the visitor was put out; why is said
MAX_REASON = 100  # bytes of what a close frame says; 123 are the most


class Talk(Protocol):
    """What is spoken on a socket."""

    def opened(self, socket: WebSocketEnd) -> None:
        """The socket is open: it may be sent on."""

    def received(self, data: bytes) -> None:
        """One binary message. Raises RemoteProtocolError for one that is not allowed."""

    def ready(self) -> None:
        """The browser takes more again."""

    def lost(self) -> None:
        """The socket has ended; called once, if it was opened."""


class WebSocketEnd(End):
    """Answers the upgrade request that it is sent, which was let in already, and is the server's
    side from then on. `on_over` is called once, when it is over."""

    def __init__(self, talk: Talk, on_over: Callable[[], None], visitor: Guest) -> None:
        super().__init__()
        self._talk, self._on_over = talk, on_over
        self._visitor = visitor  # whose bytes are counted
        self._loop = asyncio.get_running_loop()
        self._ws = ServerProtocol(max_size=MAX_MESSAGE)
        self._part = b""  # of a message that comes in several frames
        self._is_open = False
        self._heard_at = self._loop.time()
        self._timer = self._loop.call_later(PING_EVERY, self._look)
        self.is_full = False

    # -- for the talk

    def send_binary(self, message: bytes) -> None:
        """One message; nothing, where the socket has ended."""
        if self._ws.state is OPEN:
            self._ws.send_binary(message)
            self._flush()

    def send_text(self, message: bytes) -> None:
        """As send_binary, of UTF-8."""
        if self._ws.state is OPEN:
            self._ws.send_text(message)
            self._flush()

    def close(self, code: int, reason: str = "") -> None:
        """Say goodbye; what was sent before still arrives."""
        if self._ws.state is OPEN:
            short = reason.encode()[:MAX_REASON].decode(errors="ignore")
            self._ws.send_close(code, short)
            self._flush()
        self._over()
        if not self.is_done:
            self.peer.send_eof()
            self.closed(None)

    # -- End

    def send(self, data: Bytes) -> None:
        """See End.send: what the browser says."""
        if self.is_done:
            return
        self._heard_at = self._loop.time()
        self.bytes_sent += len(data)
        self._visitor.bytes_in += len(data)
        self._ws.receive_data(bytes(data))
        for event in self._ws.events_received():
            if isinstance(event, Request):
                self._answer(event)
            elif isinstance(event, Frame) and self._is_open:
                self._frame_received(event)
        self._flush()

    def send_eof(self) -> None:
        """See End.send_eof: a WebSocket has no half-close."""
        if not self.is_done:
            self.close(GOING_AWAY)

    def reset(self, code: Code) -> None:
        """See End.reset."""
        self._over()
        self.closed(code)

    def pause_reading(self) -> None:
        """See End.pause_reading: the browser takes no more for now."""
        self.is_full = True

    def resume_reading(self) -> None:
        """See End.resume_reading."""
        if self.is_full:
            self.is_full = False
            if self._is_open:
                self._loop.call_soon(self.look_again)

    def look_again(self) -> None:
        """Let the talk say what is new."""
        if self._is_open and not self.is_full:
            self._talk.ready()

    # -- inside

    def _answer(self, request: Request) -> None:
        self._ws.send_response(self._ws.accept(request))
        if self._ws.state is OPEN:
            self._flush()  # the answer comes first
            self._is_open = True
            self._talk.opened(self)

    def _frame_received(self, frame: Frame) -> None:
        if frame.opcode is Opcode.TEXT:
            self.close(POLICY_VIOLATION, "this page talks in binary messages")
        if frame.opcode is Opcode.PING and self.is_full:  # no browser does, and answers pile up
            self.close(POLICY_VIOLATION, "asks, and does not read the answers")
        if frame.opcode not in (Opcode.BINARY, Opcode.CONT):
            return
        self._part += frame.data  # ServerProtocol bounds the whole
        if frame.fin:
            message, self._part = self._part, b""
            try:
                self._talk.received(message)
            except RemoteProtocolError as error:
                self.close(POLICY_VIOLATION, error.text)

    def _flush(self) -> None:
        for data in self._ws.data_to_send():
            if data and not self.is_done:
                self.peer.send(data)
                self._visitor.bytes_out += len(data)
            elif not self.is_done:  # the end of the stream
                self._over()
                self.peer.send_eof()
                self.closed(None)

    def _over(self) -> None:
        """The talk is told, once."""
        self._timer.cancel()
        was_open, self._is_open = self._is_open, False
        if was_open:
            self._talk.lost()
        on_over, self._on_over = self._on_over, lambda: None
        on_over()

    def _look(self) -> None:
        self._timer = self._loop.call_later(PING_EVERY, self._look)
        if self._loop.time() - self._heard_at > SILENCE_ENDS:
            self.peer.reset(Code.TIMED_OUT)
            self.reset(Code.TIMED_OUT)
        elif self._is_open and not self.is_full:
            self._ws.send_ping(b"")
            self._flush()
