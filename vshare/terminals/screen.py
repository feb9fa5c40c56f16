"""A shared terminal's screen, and what of the program's output is passed on to viewers. Pure.

Many terminals show what one program writes, so nothing is passed on that would make them answer
(only the share answers), that reaches beyond the screen (clipboard, palette, keyboard), or that the
screen does not keep: a newcomer would not get it.
"""

from __future__ import annotations

from tunnel.vt.drawing import draw, row_text
from tunnel.vt.grid import Row
from tunnel.vt.parser import Parser
from tunnel.vt.screen import KNOWN_MODES, Screen
from tunnel.vt.style import numbers

MAX_TITLE = 200  # characters
MAX_SCROLLBACK = 200  # rows that a newcomer can scroll back to
MAX_SCROLLBACK_SIZE = 24 * 1024  # characters of them, colours included
_ESCAPES = frozenset(("7", "8", "c", "D", "E", "M", "H", "=", ">", "#8"))
_CHARSETS = frozenset(("(0", "(B", ")0", ")B"))
_CONTROLS = frozenset("\a\b\t\n\v\f\r\x0e\x0f")
# ECMA-48 8.3 and DEC's; `h` and `l` are looked at one by one.
_SEQUENCES = frozenset((*"HfABeCaDEFG`dIZJKX@PSTLMbrsugm", "!p", " q"))
_QUESTIONS = frozenset(("c", ">c", "n", "?n", "?$p"))  # which the screen has answers for
_INSERT = 4  # the one ANSI mode that the screen keeps
_ERASED = {"?J": "J", "?K": "K"}  # nothing is protected from erasing here


class SharedScreen:
    """`feed` it what the program writes."""

    def __init__(self, columns: int, rows: int) -> None:
        self.title = ""
        self.screen = Screen(columns, rows, MAX_SCROLLBACK)
        self._parser = Parser(self)
        self._shown: list[str] = []

    @property
    def columns(self) -> int:
        """Cells in a row."""
        return self.screen.columns

    @property
    def rows(self) -> int:
        """Rows that are shown."""
        return self.screen.rows

    def resize(self, columns: int, rows: int) -> None:
        """Another size."""
        self.screen.resize(columns, rows)

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """What viewers are shown of `data` (whole characters and sequences), and what the program
        is answered."""
        self._parser.feed(data)
        shown = "".join(self._shown).encode("utf-8", "replace")
        self._shown.clear()
        answers = b"".join(self.screen.replies)
        self.screen.replies.clear()
        return shown, answers

    def draw(self, *, scrollback: bool = False) -> bytes:
        """What draws it on a terminal of its size that was reset; with `scrollback` that has the
        rows that left at the top, too."""
        title = f"\x1b]2;{self.title}\x07" if self.title else ""
        above = self._scrollback() if scrollback else ""
        return (title + above).encode("utf-8", "replace") + draw(self.screen)

    def _scrollback(self) -> str:
        """The rows are written, and moved out at the top by as many line feeds as it takes."""
        texts: list[str] = []
        size = 0
        for row in reversed(self.screen.history):
            text = row_text(_cut(row, self.columns))
            size += len(text)
            if size > MAX_SCROLLBACK_SIZE:
                break
            texts.append(text)
        if not texts:
            return ""
        lines = "\x1b[m\r\n".join(reversed(texts))
        out = min(len(texts), self.rows)
        return f"{lines}\x1b[m\x1b[{self.rows};1H{chr(10) * out}\x1b[H"

    # -- see tunnel.vt.parser.Actions

    def text(self, text: str) -> None:
        """See Actions."""
        self.screen.text(text)
        self._shown.append(text)

    def control(self, char: str) -> None:
        """See Actions."""
        if char in _CONTROLS:
            self.screen.control(char)
            self._shown.append(char)

    def escape(self, word: str) -> None:
        """See Actions."""
        if word[:1] in ("(", ")"):  # national ones are not shown: their letters are ASCII's here
            word = word if word in _CHARSETS else f"{word[0]}B"
        elif word not in _ESCAPES:
            return
        self.screen.escape(word)
        self._shown.append(f"\x1b{word}")
        if word == "c":
            self.title = ""

    def csi(self, word: str, parameters: str) -> None:
        """See Actions."""
        word = _ERASED.get(word, word)
        if word in ("?h", "?l", "h", "l"):
            known = KNOWN_MODES if word[0] == "?" else {_INSERT}
            kept = [str(each) for each in numbers(parameters) if each in known]
            if not kept:
                return
            parameters = ";".join(kept)
        elif word in _QUESTIONS:
            self.screen.csi(word, parameters)
            return
        elif word not in _SEQUENCES or (word == "T" and ";" in parameters):
            return
        self.screen.csi(word, parameters)
        prefix = word[:1] if word[0] == "?" else ""
        self._shown.append(f"\x1b[{prefix}{parameters}{word[len(prefix) :]}")

    def osc(self, text: str) -> None:
        """See Actions. Titles alone: not the clipboard (52), colours (4, 10...), links (8)."""
        number, _, title = text.partition(";")
        if number in ("0", "2"):
            self.title = "".join(each for each in title[:MAX_TITLE] if each.isprintable())
            self._shown.append(f"\x1b]2;{self.title}\x07")


def _cut(row: Row, columns: int) -> Row:
    """It may have left when the terminal was wider."""
    if len(row.chars) <= columns:
        return row
    fitting = row.copy()
    fitting.fit(columns)
    return fitting
