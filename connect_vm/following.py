"""What the share says of itself as it changes, by a stream of protocol `follow` (docs/protocol.md
8.8). The counterpart is vshare/together/followers.py.

A stream that was lost is opened again, and then says the present anew.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from tunnel.client import Client
from tunnel.codes import Code
from tunnel.ends import Bytes, End
from tunnel.errors import RefusedError, RemoteProtocolError, VshareError
from tunnel.follow import PROTOCOL, LineParser, State, parse

TAKE_EVERY = 0.1  # seconds: as often as people see a difference; more is not read
RETRY_FIRST, RETRY_MOST = 0.2, 3.0  # seconds until it is asked for again, doubling
SILENCE_MEANS_NONE = 0.3  # seconds after OPENED, behind which the first states come at once
MAX_TYPES = 16  # of states; those that are not known are of a newer share's
_FOREVER = (Code.UNSUPPORTED, Code.NOT_ALLOWED)

log = logging.getLogger(__name__)


class Following:
    """`told` is called with each state that is another than before, and may raise
    RemoteProtocolError for one that it does not understand. `is_known` is set once the share has
    said its first, or has nothing to say."""

    def __init__(self, client: Client, told: Callable[[State], None]) -> None:
        self._client, self._told = client, told
        self.is_known = asyncio.Event()
        self._inbox: _Inbox | None = None

    def again(self) -> None:
        """There is a better way to the share: leave the connection that this stream is in."""
        if self._inbox is not None:
            self._inbox.reset(Code.CLOSED)

    async def run(self) -> None:
        """Until cancelled, or until the share turns out not to do that."""
        pause = RETRY_FIRST
        try:
            while True:
                try:
                    if await self._follow():
                        pause = RETRY_FIRST
                except RefusedError as error:
                    log.debug("the share tells nothing of itself: %s", error)
                    if error.code in _FOREVER:
                        return
                except RemoteProtocolError as error:
                    log.warning("the share's news are not understood: %s", error)
                    return
                except VshareError as error:
                    log.debug("the share's news are lost: %s", error)
                await asyncio.sleep(pause)
                pause = min(2 * pause, RETRY_MOST)
        finally:
            self.is_known.set()

    async def _follow(self) -> bool:
        """One stream to its end; whether anything came."""
        end = await self._client.open_special(PROTOCOL)
        inbox = self._inbox = _Inbox()
        inbox.peer = end  # before the end delivers what came early
        silence = asyncio.get_running_loop().call_later(SILENCE_MEANS_NONE, self.is_known.set)
        try:
            end.link(inbox)
            while await inbox.wait():
                for state in inbox.take():
                    self._told(state)
                self.is_known.set()
                await asyncio.sleep(TAKE_EVERY)
                inbox.go_on()
            return inbox.any_came
        finally:
            self._inbox = None
            silence.cancel()
            end.reset(Code.CLOSED)


class _Inbox(End):
    """Where the stream delivers: the newest state of each kind is kept, and one read at most."""

    def __init__(self) -> None:
        super().__init__()
        self._parser = LineParser()
        self._states: dict[str, State] = {}
        self._news = asyncio.Event()
        self._error: RemoteProtocolError | None = None
        self.any_came = False

    async def wait(self) -> bool:
        """Until there is something to take (True), or the stream has ended (False). Raises
        RemoteProtocolError."""
        await self._news.wait()
        self._news.clear()
        if self._error is not None:
            raise self._error
        return bool(self._states) or not self.is_done

    def take(self) -> list[State]:
        """What came, in the order in which it did."""
        states, self._states = list(self._states.values()), {}
        return states

    def go_on(self) -> None:
        """Read again."""
        if self.is_done:
            self._news.set()
        else:
            self.peer.resume_reading()

    def send(self, data: Bytes) -> None:
        """See End.send."""
        try:
            for line in self._parser.receive_data(data):
                state = parse(line)
                self._states.pop(state.type, None)
                self._states[state.type] = state
                self.any_came = True
            if len(self._states) > MAX_TYPES:
                raise RemoteProtocolError(f"news of more than {MAX_TYPES} kinds")
        except RemoteProtocolError as error:
            self._error = self._error or error
        if self._states or self._error:
            self.peer.pause_reading()
            self._news.set()

    def send_eof(self) -> None:
        """See End.send_eof: the share says no more."""
        self._end(None)

    def reset(self, code: Code) -> None:
        """See End.reset."""
        self._end(code)

    def _end(self, code: Code | None) -> None:
        self.closed(code)
        self._news.set()

    def pause_reading(self) -> None:
        """Nothing is read from here."""

    def resume_reading(self) -> None:
        """Nothing is read from here."""
