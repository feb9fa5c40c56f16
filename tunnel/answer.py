"""Waiting for a share's answer to OPEN or RESUME, and finding out when nobody will give one.

A connection may have died in silence. When it has been silent for longer than an answer may take
it is asked with a PING, and ended when that brings nothing either. One timer does it all: this
happens for each stream.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tunnel.codes import Code
from tunnel.frames import Opened, Resume
from tunnel.stream_end import StreamEnd

QUIET = 0.2  # seconds without a byte before OPEN, after which a PING goes with it: it costs little


async def answer_of(
    end: StreamEnd, within: float, on_silence: Callable[[], None]
) -> Opened | Resume:
    """The answer. Raises RefusedError, LostError, or TimeoutError after `within` seconds.

    `on_silence` is called when the connection was ended because it did not answer a PING.
    """
    waiting = _Waiting(end, within, on_silence)
    try:
        return await end.opened
    finally:
        waiting.timer.cancel()


def look_after(end: StreamEnd, within: float, on_silence: Callable[[], None]) -> None:
    """As `answer_of`, for who does not wait: what ends the stream instead is told to its peer."""
    waiting = _Waiting(end, within, on_silence)

    def answered(opened: asyncio.Future[Opened | Resume]) -> None:
        waiting.timer.cancel()
        if isinstance(opened.exception(), TimeoutError):
            end.reset(Code.TIMED_OUT)
            end.peer.reset(Code.TIMED_OUT)

    end.opened.add_done_callback(answered)


class _Waiting:
    """Looks after the connection from time to time."""

    def __init__(self, end: StreamEnd, within: float, on_silence: Callable[[], None]) -> None:
        self._end = end
        self._on_silence = on_silence
        self._loop = end.opened.get_loop()
        connection = end.connection
        self._heard = connection.heard_at  # not the clock: it has milliseconds
        now = self._loop.time()
        self._until = now + within
        self._asked = now - self._heard > QUIET  # it may have died meanwhile: ask at once
        if self._asked:
            connection.ping()
        self.timer = self._loop.call_later(min(connection.patience, within), self._look)

    def _look(self) -> None:
        connection = self._end.connection
        left = self._until - self._loop.time()
        if left <= 0:
            if not self._end.opened.done():
                self._end.opened.set_exception(TimeoutError())
            return
        if connection.heard_at == self._heard:
            if self._asked:
                connection.abort("silent after OPEN")
                self._on_silence()
                return
            connection.ping()
            self._asked = True
            left = min(connection.patience, left)
        # Else it lives; the machine is slow to answer.
        self.timer = self._loop.call_later(left, self._look)
