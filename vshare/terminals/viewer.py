"""One who looks at a shared terminal: what is sent to it, and what of it counts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from tunnel.errors import RemoteProtocolError
from tunnel.terminal_messages import (
    HEADER_SIZE,
    WINDOW,
    Do,
    MessageType,
    Seen,
    Size,
    State,
    parse_payload,
    serialize_payload,
)
from vshare.terminals.held_line import HeldLine
from vshare.terminals.identity import Identity
from vshare.terminals.input_bucket import InputBucket

if TYPE_CHECKING:
    from vshare.terminals.terminal import SharedTerminal

# Takes one whole message; False: no more until Viewer.ready, though this one was taken.
Sink: TypeAlias = Callable[[bytes], bool]
CATCH_UP = WINDOW // 2  # bytes that may still be under way when the present is shown again
# Seconds between what the program gets of one guest: who floods with single keys makes no more
# packets than somebody who leans on one.
TYPING_EVERY = 0.01


class Viewer:
    """Everything is called in the event loop's thread."""

    def __init__(self, terminal: SharedTerminal, identity: Identity, sink: Sink) -> None:
        self.identity = identity
        self.size: Size | None = None
        self.held = HeldLine()
        self.bucket = InputBucket(asyncio.get_running_loop().time())
        self.is_stale = True  # something was left out: it needs the present
        self.at = 0  # a guest's offset in what the program wrote (see OutputLog)
        self.is_closed = False
        self._terminal = terminal
        self._sink = sink
        self._sent = 0  # bytes of SCREEN and OUTPUT
        self._seen = 0
        self._blocked = False
        self._told: State | None = None
        self._told_at = -1  # the terminal's version then
        self._typing: asyncio.TimerHandle | None = None

    # -- to it

    @property
    def is_full(self) -> bool:
        """Whether it has as much under way as it may."""
        return self._blocked or self._sent - self._seen >= WINDOW

    @property
    def can_catch_up(self) -> bool:
        """Whether it needs the present, and can take it."""
        return self.is_stale and not self._blocked and self._sent - self._seen <= CATCH_UP

    def output(self, messages: list[bytes]) -> None:
        """What the program wrote, unless there is no room for it."""
        if self.is_stale:
            return
        if self.is_full:
            self.is_stale = True
            return
        for message in messages:
            self._send_counted(message)

    def present(self, messages: list[bytes], at: int) -> None:
        """The present screen, as it was at the offset `at`."""
        self.state()
        self.is_stale = False
        self.at = at
        for message in messages:
            self._send_counted(message)

    def state(self) -> None:
        """How the terminal is, if that is news to it."""
        version = self._terminal.version
        if self._blocked or self.is_closed or self._told_at == version:
            return
        self._told_at = version
        state = self._terminal.state_for(self)
        if state != self._told:
            self._told = state
            self._send(serialize_payload(state))

    def end(self, message: bytes) -> None:
        """The last that it hears, whether or not it has room."""
        if not self.is_closed:
            self._sink(message)
            self.close()

    def _send_counted(self, message: bytes) -> None:
        self._sent += len(message) - HEADER_SIZE
        self._send(message)

    def _send(self, message: bytes) -> None:
        if not self._sink(message):
            self._blocked = True

    # -- from it

    def ready(self) -> None:
        """The sink can take more: the present screen follows, if anything was left out."""
        self._blocked = False
        self.state()
        self._terminal.has_room(self)

    def receive(self, kind: MessageType, payload: bytes) -> None:
        """A message of the viewer's. Raises RemoteProtocolError for one that is not allowed."""
        if self.is_closed:
            return
        if kind is MessageType.INPUT:
            self._input(payload)
        elif kind is MessageType.SIZE:
            self.size = parse_payload(Size, payload)
            self._terminal.sizes_changed(self)
        elif kind is MessageType.ASK:
            self._terminal.asked(self)
        elif kind is MessageType.SEEN:
            count = parse_payload(Seen, payload).count
            if not self._seen <= count <= self._sent:
                raise RemoteProtocolError(f"a viewer has seen {count} of {self._sent} bytes")
            self._seen = count
            self._terminal.has_room(self)
        elif kind is MessageType.DO and self.identity.is_sharer:
            self._terminal.do(parse_payload(Do, payload), self)
        else:
            raise RemoteProtocolError(f"a guest does not say {kind.name}")

    def close(self) -> None:
        """It looks no longer; the sink is not called again. Idempotent."""
        if self.is_closed:
            return
        self.is_closed = True
        if self._typing is not None:
            self._typing.cancel()
        self._terminal.left(self)

    def _input(self, data: bytes) -> None:
        if not self._terminal.rights.may_type(self.identity):
            return
        if self.identity.is_sharer:
            self._terminal.type(self, data)
            return
        self.bucket.receive_data(data)
        if self._typing is None:
            self._type()

    def _type(self) -> None:
        """Let through what the bucket gives, and come back for the rest."""
        self._typing = None
        if not self._terminal.rights.may_type(self.identity):
            self.bucket.clear()
            return
        loop = asyncio.get_running_loop()
        data = self.bucket.take(loop.time())
        if data:
            self._terminal.type(self, data)
        wait = self.bucket.wait()
        if (data or wait is not None) and not self.is_closed:
            self._typing = loop.call_later(max(wait or 0.0, TYPING_EVERY), self._type)
