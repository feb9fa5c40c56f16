"""The last line of a terminal, rewritten in place while other lines go by above it.

The cursor stays at its beginning: what the terminal echoes there is wiped away with it, and so is
all of the line when a narrower window has folded it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import unicodedata
from collections.abc import Callable, Iterator
from typing import TextIO

log = logging.getLogger(__name__)

LOOK_EVERY = 0.5  # seconds: what people can read, and programs that record screens can hold
USUAL_WIDTH = 80  # columns, where the terminal does not know its own
_WIPE = "\r\x1b[J"  # to the end of the screen: nothing is below
_CUT = "..."
_DIM, _RESET = "\x1b[2m", "\x1b[0m"


class BottomLine:
    """Shows what `look` gives, from half a second after `start` to `stop`. `terminal` is a
    descriptor that does not block: nobody waits for a terminal that takes nothing."""

    def __init__(self, terminal: int, look: Callable[[], str], *, dim: bool = False) -> None:
        self._terminal = terminal
        self._look = look
        self._dim = dim
        self._pauses = 0
        self._shown = ""  # what is on the screen now, in what width
        self._width = 0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Needs a running loop."""
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(LOOK_EVERY, self._tick)

    def stop(self) -> None:
        """Leave no trace. Idempotent."""
        self.hide()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def hide(self) -> None:
        """Make room for another line, until the next look."""
        if self._shown:
            self._shown = ""
            self._write(_WIPE)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Nothing is shown inside."""
        self.hide()
        self._pauses += 1
        try:
            yield
        finally:
            self._pauses -= 1

    def _tick(self) -> None:
        try:
            if not self._pauses:
                self._show(self._look())
        except Exception:
            self.stop()
            log.exception("the line at the bottom could not be made")
        else:
            self.start()

    def _show(self, text: str) -> None:
        width = terminal_width(self._terminal)
        text = fit(text, width - 1)  # a full row would make some terminals begin another
        if (text, width) == (self._shown, self._width):
            return
        self._width = width
        shown = f"{_DIM}{text}{_RESET}" if self._dim else text
        self._shown = text if self._write(f"{_WIPE}{shown}\r") else ""

    def _write(self, text: str) -> bool:
        """Whether it was written: not to a screen that is another program's now (tcgetpgrp(3)),
        nor to one that takes nothing, or is gone."""
        with contextlib.suppress(OSError):
            if _is_in_front(self._terminal):
                os.write(self._terminal, text.encode("utf-8", "replace"))
                return True
        return False


@contextlib.contextmanager
def open_terminal(stream: TextIO) -> Iterator[int | None]:
    """The terminal that `stream` writes to, opened once more so that writing does not block; None
    where it is none, or may not be opened."""
    terminal = None
    if stream.isatty():
        with contextlib.suppress(OSError):  # another user's, after su(1)
            flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
            terminal = os.open(f"/proc/self/fd/{stream.fileno()}", flags)
    try:
        yield terminal
    finally:
        if terminal is not None:
            os.close(terminal)


def fit(text: str, columns: int) -> str:
    """As much of `text` as `columns` hold; what is cut ends in dots."""
    if sum(map(_columns, text)) <= columns:
        return text
    kept, left = "", columns - len(_CUT)
    for char in text:
        left -= _columns(char)
        if left < 0:
            break
        kept += char
    return f"{kept}{_CUT}"[: max(columns, 0)]


def _columns(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def terminal_width(terminal: int) -> int:
    """Columns."""
    try:
        return os.get_terminal_size(terminal).columns or USUAL_WIDTH
    except OSError:
        return USUAL_WIDTH


def _is_in_front(terminal: int) -> bool:
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return True  # nobody's controlling terminal: nobody else's screen
