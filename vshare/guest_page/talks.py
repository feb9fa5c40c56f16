"""What the guest page's WebSockets carry: the share's news, and one terminal each."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from tunnel.errors import RefusedError, RemoteProtocolError
from tunnel.terminal_messages import FROM_GUEST, End, MessageType, parse_one, serialize_payload
from vshare.guest_page.sessions import Session
from vshare.guest_page.web_socket import WebSocketEnd
from vshare.terminals.hub import Hub, Viewer
from vshare.terminals.identity import Identity
from vshare.together.board import Board
from vshare.together.followers import MERGE

TERMINAL_ENDED = 4000  # a close code of our own (RFC 6455 7.4.2): not to be opened again


class _Line(msgspec.Struct, frozen=True):
    """What is looked at of a board's line."""

    type: str


_line = msgspec.json.Decoder(_Line)


class News:
    """The board's lines, each a text message, but for the kinds in `hidden`; `about`, JSON too, in
    front, and again when it is another."""

    def __init__(
        self,
        board: Board,
        session: Session,
        about: Callable[[], bytes],
        hidden: frozenset[str] = frozenset(),
    ) -> None:
        self._board, self._session, self._about, self._hidden = board, session, about, hidden
        self._version, self._told = 0, b""
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._unsubscribe: Callable[[], None] = lambda: None
        self._socket: WebSocketEnd

    def opened(self, socket: WebSocketEnd) -> None:
        """See Talk."""
        self._socket = socket
        self._unsubscribe = self._board.subscribe(self._changed)
        self.ready()

    def received(self, data: bytes) -> None:
        """See Talk."""
        raise RemoteProtocolError("nothing is said on this socket")

    def ready(self) -> None:
        """See Talk: what changed meanwhile, the present state of each thing."""
        about = self._about()
        if about != self._told:
            self._told = about
            self._socket.send_text(about)
        while not self._socket.is_full:
            found = self._board.line_since(self._version, self._session.visitor)
            if found is None:
                return
            self._version, line = found
            if _line.decode(line).type not in self._hidden:
                self._socket.send_text(line)

    def lost(self) -> None:
        """See Talk."""
        self._unsubscribe()
        if self._timer is not None:
            self._timer.cancel()

    def _changed(self) -> None:
        if self._timer is None:
            self._timer = self._loop.call_later(MERGE, self._deliver)

    def _deliver(self) -> None:
        self._timer = None
        if not self._socket.is_full:
            self.ready()


class TerminalTalk:
    """A terminal's messages (docs/protocol.md 8.9), one in each binary message."""

    def __init__(self, hub: Hub, name: str, session: Session, *, read_only: bool) -> None:
        visitor = session.visitor
        self._hub, self._name = hub, name
        self._identity = Identity(visitor.fingerprint, visitor.name, read_only=read_only)
        self._viewer: Viewer | None = None
        self._loop = asyncio.get_running_loop()
        self._socket: WebSocketEnd

    def opened(self, socket: WebSocketEnd) -> None:
        """See Talk."""
        self._socket = socket
        try:
            self._viewer = self._hub.view(self._name, self._identity, self._take)
        except RefusedError as error:
            socket.send_binary(serialize_payload(End(error.code, error.text[:300])))
            socket.close(TERMINAL_ENDED, error.text)

    def _take(self, message: bytes) -> bool:
        """The viewer's sink."""
        self._socket.send_binary(message)
        if message[0] == MessageType.END:
            self._loop.call_soon(self._socket.close, TERMINAL_ENDED)
        return not self._socket.is_full

    def received(self, data: bytes) -> None:
        """See Talk."""
        parsed = parse_one(data, FROM_GUEST)
        if parsed is not None and self._viewer is not None:
            self._viewer.receive(*parsed)

    def ready(self) -> None:
        """See Talk."""
        if self._viewer is not None:
            self._viewer.ready()

    def lost(self) -> None:
        """See Talk."""
        viewer, self._viewer = self._viewer, None
        if viewer is not None:
            viewer.close()
