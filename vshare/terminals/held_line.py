"""`--hold-enter`: a guest's line is kept here until the sharer lets it through. Pure.

Nothing of it reaches the machine before: what a shell or an editor does with single keys is not
known here, so the keys wait as well as the Enter behind them.
"""

from __future__ import annotations

import codecs
import re
import unicodedata

from tunnel.looks import is_seen

MAX_LINE = 300  # characters: the sharer is shown all of it; more is thrown away
MAX_NEXT = 4_096  # characters typed while a line waits; more is thrown away
# Arrows and the like have no meaning in a line that nothing has seen yet; nor have the marks
# around what is pasted.
_SEQUENCE = re.compile("\x1b(?:[\\[][0-?]*[ -/]*[@-~]|O[ -~]|[^\\[O])")
_ERASE = ("\x7f", "\x08")
_DISCARD = ("\x15", "\x03")  # Ctrl-U, Ctrl-C
_ENTER = ("\r", "\n")


class HeldLine:
    """One guest's. `text` is the line so far, `waits` whether Enter was pressed behind it."""

    def __init__(self) -> None:
        self.text = ""
        self.waits = False
        self._next = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    @property
    def shown(self) -> str:
        """The line that waits, as the sharer is shown it; empty where none does."""
        return (self.text or " ") if self.waits else ""  # an Enter alone is something, too

    def receive_data(self, data: bytes) -> None:
        """What the guest typed."""
        self._next += self._decoder.decode(data)
        self._take()
        self._next = self._next[:MAX_NEXT]

    def release(self) -> bytes:
        """The line that waits, with its Enter, for the program; empty where none waits."""
        if not self.waits:
            return b""
        line = self.text.encode() + b"\r"
        self.drop()
        return line

    def drop(self) -> None:
        """Throw away the line that waits; what was typed behind it is the next one."""
        if self.waits:
            self.text, self.waits = "", False
            self._take()

    def _take(self) -> None:
        while self._next and not self.waits:
            char = self._next[0]
            if char == "\x1b":
                sequence = _SEQUENCE.match(self._next)
                if sequence is None and len(self._next) < MAX_LINE:
                    return  # the rest of it is to come
                self._next = self._next[sequence.end() if sequence is not None else 1 :]
                continue
            self._next = self._next[1:]
            if char in _ENTER:
                self.waits = True
            elif char in _ERASE:
                self.text = self.text[:-1]
            elif char in _DISCARD:
                self.text = ""
            elif len(self.text) < MAX_LINE:
                self.text = _with(self.text, char)


def _with(text: str, char: str) -> str:
    """`text` and what is seen of `char`: nothing that the sharer does not see is to run."""
    if is_seen(char):
        return text + char
    composed = unicodedata.normalize("NFC", text[-1:] + char)
    return text[:-1] + composed if len(composed) == 1 and is_seen(composed) else text
