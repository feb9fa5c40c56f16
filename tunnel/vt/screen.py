"""A terminal as programs for xterm know it: what they write to it, and what it then shows. Pure.

By xterm's ctlseqs (https://invisible-island.net/xterm/ctlseqs/ctlseqs.html), as far as programs
with TERM=xterm-256color use it. It shows; it has no clipboard, no title, no pictures, no printer.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace

from tunnel.vt.grid import Cursor, Grid, Row, width
from tunnel.vt.parser import Parser
from tunnel.vt.style import PLAIN, blank, numbers, styled

MAX_REPLIES = 16  # answers that nobody fetched: a program that asks and does not read
HISTORY = 1000  # rows kept that left at the top, for the scroll-back of who looks on
MAX_COLUMNS, MAX_ROWS = 500, 200  # of more nobody reads; it bounds what a screen takes
TAB = 8  # columns

CURSOR_KEYS, ORIGIN, AUTOWRAP, CURSOR_SHOWN = 1, 6, 7, 25  # DEC private modes
ALTERNATE = (47, 1047, 1049)
SAVE_CURSOR = 1048
# What only the terminal that a person sits at can do: passed on to it by who paints.
OUTER_MODES = frozenset((CURSOR_KEYS, 5, 9, 12, 1000, 1002, 1003, 1004, 1005, 1006, 1015, 2004))
KNOWN_MODES = OUTER_MODES | {ORIGIN, AUTOWRAP, CURSOR_SHOWN, SAVE_CURSOR, *ALTERNATE}
DEFAULT_MODES = frozenset((AUTOWRAP, CURSOR_SHOWN))
_LINES = str.maketrans(
    "`abcdefghijklmnopqrstuvwxyz{|}~", "◆▒␉␌␍␊°±␤␋┘┐┌└┼⎺⎻─⎼⎽├┤┴┬│≤≥π≠£·"
)  # DEC's special graphics


class Screen:
    """`feed` it what a program writes. `replies` are answers to its questions, for its input."""

    def __init__(self, columns: int, rows: int, history: int = HISTORY) -> None:
        self.history: deque[Row] = deque(maxlen=history)
        self.replies: deque[bytes] = deque(maxlen=MAX_REPLIES)
        self.gone = 0  # rows that ever left at the top
        self.bells = 0
        self.columns, self.rows = columns, rows
        self._parser = Parser(self)
        self.main = Grid(columns, rows, self._rows_gone)
        self.alternate = Grid(columns, rows, lambda gone: None)
        self._reset()

    def _reset(self) -> None:
        for grid in (self.main, self.alternate):
            grid.fill(" ")
            grid.saved = Cursor()
        self.grid = self.main
        self.tabs = set(range(TAB, MAX_COLUMNS, TAB))
        self.modes = set(DEFAULT_MODES)
        self.cursor_shape = 0
        self.x = self.y = 0
        self._last = ""
        self._soft_reset()

    def _soft_reset(self) -> None:
        self.top, self.bottom = 0, self.rows - 1
        self.modes -= {ORIGIN, CURSOR_KEYS}
        self.modes |= DEFAULT_MODES
        self.grid.saved = Cursor()
        self.style = PLAIN
        self.charsets, self.shift = ["B", "B"], 0
        self.inserts = self.keypad = self.wraps = False

    # -- what others look at

    @property
    def is_alternate(self) -> bool:
        """Whether a full-screen program has the screen."""
        return self.grid is self.alternate

    @property
    def lines(self) -> list[Row]:
        """The rows that are shown."""
        return self.grid.rows

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """What the program wrote."""
        self._parser.feed(data)

    def resize(self, columns: int, rows: int) -> None:
        """The terminal has another size; text is cut, not folded anew."""
        columns, rows = max(1, min(columns, MAX_COLUMNS)), max(1, min(rows, MAX_ROWS))
        if (columns, rows) == (self.columns, self.rows):
            return
        for grid in (self.main, self.alternate):
            gone = grid.resize(columns, rows, self.y if grid is self.grid else grid.saved.y)
            if grid is self.grid:
                self.y -= gone
            x, y = min(grid.saved.x, columns - 1), min(grid.saved.y - gone, rows - 1)
            grid.saved = replace(grid.saved, x=x, y=max(y, 0), wraps=False)
        self.columns, self.rows = columns, rows
        self.top, self.bottom = 0, rows - 1
        self._to(self.x, self.y)

    def _rows_gone(self, rows: list[Row]) -> None:
        self.gone += len(rows)
        self.history.extend(rows)

    # -- text

    def text(self, text: str) -> None:
        """See Actions."""
        if self.charsets[self.shift] == "0":
            text = text.translate(_LINES)
        if text.isascii() and not self.inserts:
            self._put(text)
            return
        widths = [width(char) for char in text]
        if not self.inserts and widths.count(1) == len(widths):
            self._put(text)
            return
        for char, columns in zip(text, widths, strict=True):
            self._put_one(char, columns)

    def _put(self, text: str) -> None:
        """Characters of one column each."""
        at, end = 0, len(text)
        self._last = text[-1]
        while at < end:
            if self.wraps:
                self._wrap()
            part = text[at : at + self.columns - self.x]
            self.grid.rows[self.y].put(self.x, part, self.style)
            at += len(part)
            self.x += len(part)
            if self.x == self.columns:
                self.x -= 1
                if AUTOWRAP not in self.modes:
                    self.grid.rows[self.y].put(self.x, text[-1], self.style)
                    return
                self.wraps = True

    def _put_one(self, char: str, columns: int) -> None:
        row = self.grid.rows[self.y]
        if not columns:
            row.mark(self.x if self.wraps else max(self.x - 1, 0), char)
            return
        if columns > self.columns:
            return
        self._last = char
        if self.wraps:
            self._wrap()
        if self.x + columns > self.columns:
            if AUTOWRAP not in self.modes:
                return
            row.erase(self.x, self.columns, blank(self.style))
            self._wrap()
        row = self.grid.rows[self.y]
        if self.inserts:
            row.insert(self.x, columns, self.style)
        row.put(self.x, [char, ""][:columns], self.style)
        self.x += columns
        if self.x >= self.columns:
            self.x = self.columns - 1
            self.wraps = AUTOWRAP in self.modes

    def _wrap(self) -> None:
        self.wraps = False
        self.x = 0
        self.index()

    # -- moving

    def index(self) -> None:
        """One row down, scrolling at the bottom (IND)."""
        if self.y == self.bottom:
            self.grid.scroll_up(self.top, self.bottom, 1, blank(self.style))
        elif self.y < self.rows - 1:
            self.y += 1

    def _reverse_index(self) -> None:
        if self.y == self.top:
            self.grid.scroll_down(self.top, self.bottom, 1, blank(self.style))
        elif self.y:
            self.y -= 1

    def _to(self, x: int, y: int) -> None:
        self.wraps = False
        self.x = max(0, min(x, self.columns - 1))
        self.y = max(0, min(y, self.rows - 1))

    def address(self, x: int, y: int) -> None:
        """Move to where a program says, which may count from the scrolling region (DECOM)."""
        if ORIGIN in self.modes:
            self._to(x, max(self.top, min(y + self.top, self.bottom)))
        else:
            self._to(x, y)

    def _vertical(self, rows: int) -> None:
        """CUU, CUD: they stop where the region does, if they begin in it."""
        top = self.top if self.y >= self.top else 0
        bottom = self.bottom if self.y <= self.bottom else self.rows - 1
        self._to(self.x, max(top, min(self.y + rows, bottom)))

    def _tab(self, count: int) -> None:
        stops = sorted(at for at in self.tabs if at > self.x)
        self._to(stops[count - 1] if count <= len(stops) else self.columns - 1, self.y)

    def _back_tab(self, count: int) -> None:
        stops = sorted((at for at in self.tabs if at < self.x), reverse=True)
        self._to(stops[count - 1] if count <= len(stops) else 0, self.y)

    def control(self, char: str) -> None:
        """See Actions."""
        if char == "\n" or char in "\v\f":
            self.wraps = False
            self.index()
        elif char == "\r":
            self._to(0, self.y)
        elif char == "\b":
            self._to(self.x - 1, self.y)
        elif char == "\t":
            self._tab(1)
        elif char == "\a":
            self.bells += 1
        elif char in "\x0e\x0f":
            self.shift = int(char == "\x0e")

    def escape(self, word: str) -> None:
        """See Actions."""
        if word == "7":
            self.save_cursor()
        elif word == "8":
            self.restore_cursor()
        elif word == "c":
            self._reset()
        elif word in "DE" and word:
            if word == "E":
                self.x = 0
            self.wraps = False
            self.index()
        elif word == "M":
            self.wraps = False
            self._reverse_index()
        elif word == "H":
            self.tabs.add(self.x)
        elif word in "=>":
            self.keypad = word == "="
        elif word[:1] in ("(", ")"):
            self.charsets["()".index(word[0])] = word[1:]
        elif word == "#8":
            self.grid.fill("E")
            self.address(0, 0)

    def osc(self, text: str) -> None:
        """See Actions. Titles, colours, the clipboard: not here."""

    # -- the cursor's state, and buffers

    def save_cursor(self) -> None:
        """DECSC."""
        self.grid.saved = Cursor(
            self.x, self.y, self.style, (self.charsets[0], self.charsets[1]), self.shift,
            ORIGIN in self.modes, self.wraps,
        )  # fmt: skip

    def restore_cursor(self) -> None:
        """DECRC."""
        saved = self.grid.saved
        region = range(self.top, self.bottom + 1) if saved.origin else range(self.rows)
        self._to(saved.x, max(region[0], min(saved.y, region[-1])))
        self.style, self.charsets, self.shift = saved.style, list(saved.charsets), saved.shift
        self.wraps = saved.wraps
        (self.modes.add if saved.origin else self.modes.discard)(ORIGIN)

    def _set_mode(self, mode: int, *, on: bool) -> None:
        if mode in ALTERNATE:
            self._change_buffer(mode, to_alternate=on)
        elif mode == SAVE_CURSOR:
            (self.save_cursor if on else self.restore_cursor)()
        elif mode in KNOWN_MODES:
            (self.modes.add if on else self.modes.discard)(mode)
            if mode == ORIGIN:
                self.address(0, 0)
            if mode == AUTOWRAP and not on:
                self.wraps = False

    def _change_buffer(self, mode: int, *, to_alternate: bool) -> None:
        if to_alternate == self.is_alternate:
            return
        if to_alternate:
            if mode == 1049:
                self.save_cursor()
                self.alternate = Grid(self.columns, self.rows, lambda gone: None)
            self.grid = self.alternate
            return
        self.grid = self.main
        if mode == 1049:
            self.restore_cursor()

    # -- control sequences

    def csi(self, word: str, parameters: str) -> None:
        """See Actions."""
        if word == "m":
            self.style = styled(self.style, parameters)
            return
        if word in ("?h", "?l"):
            for mode in numbers(parameters):
                self._set_mode(mode, on=word == "?h")
            return
        given = numbers(parameters)
        if not (self._moves(word, given) or self._edits(word, given)):
            self._sets(word, given)

    def _moves(self, word: str, given: list[int]) -> bool:
        first, second = _counts(given)
        if word == "H" or word == "f":
            self.address(second - 1, first - 1)
        elif word == "A":
            self._vertical(-first)
        elif word in ("B", "e"):
            self._vertical(first)
        elif word in ("C", "a"):
            self._to(self.x + first, self.y)
        elif word == "D":
            self._to(self.x - first, self.y)
        elif word in ("E", "F"):
            self.x = 0
            self._vertical(first if word == "E" else -first)
        elif word in ("G", "`"):
            self._to(first - 1, self.y)
        elif word == "d":
            self.address(self.x, first - 1)
        elif word == "I":
            self._tab(first)
        elif word == "Z":
            self._back_tab(first)
        else:
            return False
        return True

    def _edits(self, word: str, given: list[int]) -> bool:
        count = min(_counts(given)[0], max(self.columns, self.rows))
        row, style = self.grid.rows[self.y], blank(self.style)
        is_inside = self.top <= self.y <= self.bottom
        if word in ("J", "K", "?J", "?K"):
            self._erase(word[-1], given[0] if given else 0)
        elif word == "X":
            row.erase(self.x, self.x + count, style)
        elif word == "@":
            row.insert(self.x, count, style)
        elif word == "P":
            row.delete(self.x, count, style)
        elif word == "S":
            self.grid.scroll_up(self.top, self.bottom, count, style)
        elif word == "T" and len(given) < 2:
            self.grid.scroll_down(self.top, self.bottom, count, style)
        elif word == "L" and is_inside:
            self.grid.scroll_down(self.y, self.bottom, count, style)
            self._to(0, self.y)
        elif word == "M" and is_inside:
            self.grid.delete_rows(self.y, self.bottom, count, style)
            self._to(0, self.y)
        elif word == "b" and self._last:
            self.text(self._last * min(_counts(given)[0], self.columns))
        else:
            return False
        if word in ("X", "@", "P", "J", "K"):
            self.wraps = False
        return True

    def _erase(self, what: str, part: int) -> None:
        """ED, EL: to the end, from the beginning, all."""
        rows, style = self.grid.rows, blank(self.style)
        if part in (0, 2):
            rows[self.y].erase(self.x, self.columns, style)
        if part in (1, 2):
            rows[self.y].erase(0, self.x + 1, style)
        if what == "J" and part in (0, 1, 2):
            above = range(self.y if part else 0)
            below = range(self.y + 1, self.rows if part != 1 else 0)
            for at in (*above, *below):  # new ones: a program may do this thousands of times
                rows[at] = Row(self.columns, style)

    def _sets(self, word: str, given: list[int]) -> None:
        first = given[0] if given else 0
        if word == "r":
            top, bottom = first or 1, (given[1] if len(given) > 1 else 0) or self.rows
            if top < min(bottom, self.rows):
                self.top, self.bottom = top - 1, min(bottom, self.rows) - 1
                self.address(0, 0)
        elif word in ("h", "l") and 4 in given:
            self.inserts = word == "h"
        elif word == "s":
            self.save_cursor()
        elif word == "u":
            self.restore_cursor()
        elif word == "g":
            if first == 3:
                self.tabs.clear()
            elif not first:
                self.tabs.discard(self.x)
        elif word == "!p":
            self._soft_reset()
        elif word == " q":
            self.cursor_shape = first if first <= 6 else 0
        else:
            self._answer(word, first)

    def _answer(self, word: str, asked: int) -> None:
        """DA, DSR, DECRQM: what programs ask a terminal of this kind."""
        if word == "c" and not asked:
            self.replies.append(b"\x1b[?62;22c")
        elif word == ">c" and not asked:
            self.replies.append(b"\x1b[>41;0;0c")
        elif word == "n" and asked == 5:
            self.replies.append(b"\x1b[0n")
        elif word in ("n", "?n") and asked == 6:
            y = self.y - (self.top if ORIGIN in self.modes else 0)
            self.replies.append(b"\x1b[%b%d;%dR" % (word[:-1].encode(), y + 1, self.x + 1))
        elif word == "?$p":
            state = (1 if asked in self.modes else 2) if asked in KNOWN_MODES else 0
            self.replies.append(b"\x1b[?%d;%d$y" % (asked, state))


def _counts(given: list[int]) -> tuple[int, int]:
    """Two parameters for which 0 means 1."""
    padded = [*given, 0, 0]
    return padded[0] or 1, padded[1] or 1
