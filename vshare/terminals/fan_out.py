"""What the guests of a shared terminal are shown: after the sharer, a few of them in each turn of
the event loop, and at a pace at which a crowd leaves most of the loop's time to the sharer.

In its turn a guest gets all that it has not got yet, as one message, however many pieces the
program wrote. One that was left behind is drawn the present screen.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from vshare.terminals.output_log import OutputLog
from vshare.terminals.viewer import Viewer

# Each is a TLS record and a system call, so a turn is some 0.1 ms: then keys, and what the program
# wrote, have theirs.
GUESTS_A_TURN = 4
# Seconds of rest for each guest who had a turn: several times what that took. So one guest alone
# follows every piece, and fifty are shown something a hundred times a second.
REST_PER_GUEST = 0.0002
# A viewer that is slower than the program is shown the present this often at most: pictures
# enough to follow, and one drawing for all who wait.
CATCH_UP_EVERY = 0.05  # seconds


class FanOut:
    """`viewers` gives all who look, `draw` the messages of the present screen."""

    def __init__(
        self, viewers: Callable[[], list[Viewer]], draw: Callable[[], list[bytes]]
    ) -> None:
        self.first: Viewer | None = None  # the guest who typed last: it waits for the echo
        self._viewers = viewers
        self._draw = draw
        self._log = OutputLog()
        self._drawing: tuple[int, list[bytes]] | None = None  # as it was at that offset
        self._waiting: deque[Viewer] = deque()  # for their turn
        self._turn: asyncio.Handle | None = None
        self._is_due = False  # there is news for who had a turn already
        self._served = 0  # guests, since the last rest
        self._rests_until = 0.0  # loop time
        self._catching_up: asyncio.TimerHandle | None = None

    @property
    def at(self) -> int:
        """The offset that somebody has got to who is shown the present now."""
        return self._log.end

    def add(self, shown: bytes) -> None:
        """The program wrote what viewers are `shown`; the sharer has it already."""
        self._log.add(shown)
        self.soon()

    def soon(self) -> None:
        """There is something for the guests, output or state. The sharer's keys need not wait."""
        if self._turn is not None:
            self._is_due = True
            return
        loop = asyncio.get_running_loop()
        wait = self._rests_until - loop.time()
        if wait > 0:
            self._turn = loop.call_later(wait, self._begin)
        else:
            self._turn = loop.call_soon(self._begin)

    def redraw(self) -> None:
        """The screen has another size: nothing that was drawn in the old one is sent any more."""
        self._drawing = None
        self._log.forget(self._log.end)
        for viewer in self._viewers():
            viewer.is_stale = True
        self.catch_up_soon(self._viewers())

    def catch_up_soon(self, viewers: list[Viewer]) -> None:
        """Draw the present, if one of `viewers` needs it and can take it."""
        if self._catching_up is None and any(each.can_catch_up for each in viewers):
            loop = asyncio.get_running_loop()
            self._catching_up = loop.call_later(CATCH_UP_EVERY, self._catch_up)

    def finish(self) -> None:
        """It is over: nobody is shown more than there is now, and each at once."""
        for viewer in self._viewers():
            if not viewer.identity.is_sharer:
                self._show(viewer)
        for timer in (self._turn, self._catching_up):
            if timer is not None:
                timer.cancel()

    def _begin(self) -> None:
        """A round: everybody has a turn."""
        self._is_due = False
        self._waiting = deque(each for each in self._viewers() if not each.identity.is_sharer)
        if self.first is not None and self.first in self._waiting:
            self._waiting.remove(self.first)
            self._waiting.appendleft(self.first)
        self._go_on()

    def _go_on(self) -> None:
        for _ in range(min(GUESTS_A_TURN, len(self._waiting))):
            self._show(self._waiting.popleft())
            self._served += 1
        loop = asyncio.get_running_loop()
        if self._waiting:
            self._turn = loop.call_soon(self._go_on)
            return
        self._turn = None
        self._rests_until = loop.time() + self._served * REST_PER_GUEST
        self._served = 0
        viewers = self._viewers()
        up_to = [each.at for each in viewers if not (each.is_stale or each.identity.is_sharer)]
        self._log.forget(min(up_to, default=self._log.end))
        if self._is_due:
            self.soon()
        self.catch_up_soon(viewers)

    def _show(self, viewer: Viewer) -> None:
        if viewer.is_closed:
            return
        viewer.state()
        if self._drawing is not None and self._log.has(self._drawing[0]) and viewer.can_catch_up:
            viewer.present(self._drawing[1], self._drawing[0])
        if self._log.has(viewer.at):
            viewer.output(self._log.since(viewer.at))
        else:
            viewer.is_stale = True
        viewer.at = self._log.end

    def _catch_up(self) -> None:
        self._catching_up = None
        self._drawing = at, messages = self._log.end, self._draw()
        for viewer in self._viewers():
            if not viewer.can_catch_up:
                continue
            if viewer.identity.is_sharer:
                viewer.present(messages, at)
            else:
                self._waiting.append(viewer)
        if self._waiting and self._turn is None:
            self._turn = asyncio.get_running_loop().call_soon(self._go_on)
