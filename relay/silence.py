"""Who ended its side of a connection and gets no answer has most likely gone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from relay.streams import UpstreamStream

HALF_CLOSED_SILENCE = 10.0  # seconds that an answer may pause once the visitor ended its side


class SilenceWatch:
    """One visitor's. `answering` gives the stream that its answer is to come over, if there is one
    now: another one than before gets the same time. `stop` must be called at its end."""

    def __init__(self, answering: Callable[[], UpstreamStream | None]) -> None:
        self._answering = answering
        self._timer: asyncio.TimerHandle | None = None
        self.has_given_up = False  # for all of the connection: nothing is to be asked for it again

    def begin(self) -> None:
        """The visitor has ended its side."""
        stream = self._answering()
        received = stream.received if stream is not None else 0
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(HALF_CLOSED_SILENCE, self._look, stream, received)

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _look(self, stream: UpstreamStream | None, received: int) -> None:
        if stream is None or stream is not self._answering() or stream.received != received:
            self.begin()
            return
        self.has_given_up = True
        stream.abort()
