"""What the guests of a shared terminal are shown: after the sharer, and a few of them at a time.

In its turn a guest gets all that it has not got yet, as one message, however many pieces the
program wrote. One that was left behind is drawn the present screen.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from vshare.terminals.output_log import OutputLog
from vshare.terminals.viewer import Viewer

# Each is a TLS record and a system call, so a turn takes some 0.3 ms. Keys, and what the program
# writes, come between two of them.
GUESTS_A_TURN = 8
# From one turn to the next. We sleep meanwhile, and so the program before which the sharer sits
# has our CPU: it was woken just before, and no other may be free. Fifty guests are shown something
# seventy times a second at most.
TURN_EVERY = 0.002  # seconds
# A viewer that is slower than the program is shown the present this often at most: pictures
# enough to follow, and one drawing for all who wait.
CATCH_UP_EVERY = 0.05  # seconds


class FanOut:
    """`viewers` gives all who look, `draw` the messages of the present screen."""

    def __init__(
        self, viewers: Callable[[], list[Viewer]], draw: Callable[[], list[bytes]]
    ) -> None:
        self.first: Viewer | None = None  # who typed last
        self._viewers = viewers
        self._draw = draw
        self._log = OutputLog()
        self._drawing: tuple[int, list[bytes]] | None = None  # as it was at that offset
        self._waiting: deque[Viewer] = deque()  # for their turn
        self._turn: asyncio.Handle | None = None
        self._is_due = False  # there is news for who had a turn already
        self._next_turn = 0.0  # loop time
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
        wait = self._next_turn - loop.time()
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
        """A round: everybody has a turn, but for who waits for an echo not at once."""
        self._is_due = False
        guests = (each for each in self._viewers() if not each.identity.is_sharer)
        self._waiting = deque(each for each in guests if each is not self.first)
        self._take_turn(0)

    def _go_on(self) -> None:
        self._take_turn(GUESTS_A_TURN)

    def _take_turn(self, guests: int) -> None:
        """Of so many, and who typed last is one of each."""
        if self.first is not None and not self.first.identity.is_sharer:
            self._show(self.first)
        for _ in range(min(guests, len(self._waiting))):
            self._show(self._waiting.popleft())
        loop = asyncio.get_running_loop()
        self._next_turn = loop.time() + TURN_EVERY
        if self._waiting:
            self._turn = loop.call_later(TURN_EVERY, self._go_on)
            return
        self._turn = None
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
