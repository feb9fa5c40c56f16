"""A guest's stream of protocol `terminal`, as a viewer (docs/protocol.md 8.9)."""

from __future__ import annotations

import asyncio

from tunnel.codes import Code
from tunnel.ends import Bytes, End
from tunnel.errors import RemoteProtocolError
from tunnel.terminal_messages import FROM_GUEST, MessageType, TerminalParser
from vshare.terminals.hub import Hub
from vshare.terminals.identity import Identity

# Messages that are listened to in one turn of the event loop: a quick typist sends one, and what
# is pasted comes in pieces of 4 KiB. After as many nothing is read for REST, so that a flood takes
# a fiftieth of the loop's time, and what came of it already waits here.
MESSAGES_A_TURN = 32
REST = 0.02  # seconds
MAX_SKIPPED = 1_000  # messages of types of a later version, in one turn


class ViewerEnd(End):
    """The end that is bridged with the guest's stream. Raises RefusedError where there is no such
    terminal; what is shown waits here until it is linked."""

    def __init__(self, hub: Hub, name: str, identity: Identity) -> None:
        super().__init__()
        self._parser = TerminalParser(FROM_GUEST)
        self._early: list[bytes] | None = []
        self._is_paused = False
        self._rest: asyncio.TimerHandle | None = None  # from listening
        self._viewer = hub.view(name, identity, self._sink)

    def link(self, peer: End) -> None:
        """See End.link."""
        super().link(peer)
        early, self._early = self._early or [], None
        for message in early:
            self._sink(message)

    def _sink(self, message: bytes) -> bool:
        if self._early is not None:
            self._early.append(message)
            return True
        self.peer.send(message)
        if message[0] == MessageType.END:
            self._end(Code.CLOSED)
        return not self._is_paused

    def _end(self, code: Code) -> None:
        """Nothing more is said, or listened to; what was sent still arrives."""
        self._viewer.close()
        self.peer.send_eof()
        self.peer.reset(code)
        self.closed(None)

    def send(self, data: Bytes) -> None:
        """See End.send: the guest's messages."""
        if self.is_done:
            return
        self.bytes_sent += len(data)
        self._parser.receive_data(data)
        if self._rest is None:
            self._listen()

    def _listen(self) -> None:
        skipped = self._parser.skipped
        try:
            for _ in range(MESSAGES_A_TURN):
                message = self._parser.maybe_message()
                if self._parser.skipped - skipped > MAX_SKIPPED:
                    raise RemoteProtocolError("a flood of messages of unknown types")
                if message is None:
                    return
                self._viewer.receive(*message)
        except RemoteProtocolError as error:
            self._end(error.code)
            return
        if self._parser.has_more and not self.is_done:
            self.peer.pause_reading()
            self._rest = asyncio.get_running_loop().call_later(REST, self._rested)

    def _rested(self) -> None:
        self._rest = None
        self._listen()
        if self._rest is None and not self.is_done:
            self.peer.resume_reading()

    def closed(self, code: Code | None) -> None:
        """See End.closed."""
        if self._rest is not None:
            self._rest.cancel()
        super().closed(code)

    def send_eof(self) -> None:
        """See End.send_eof: the guest looks no longer."""
        if not self.is_done:
            self._end(Code.CLOSED)

    def reset(self, code: Code) -> None:
        """See End.reset."""
        self._viewer.close()
        self.closed(code)

    def pause_reading(self) -> None:
        """See End.pause_reading: the guest takes no more."""
        self._is_paused = True

    def resume_reading(self) -> None:
        """See End.resume_reading."""
        if self._is_paused:
            self._is_paused = False
            self._viewer.ready()
