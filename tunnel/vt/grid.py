"""The cells of one screen buffer, and what moves them. Pure."""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass

from tunnel.vt.style import PLAIN, Style

MAX_MARKS = 8  # characters on one cell: a letter and what is put over it


@functools.lru_cache(4096)
def width(char: str) -> int:
    """Columns that a character takes: 0 for what goes onto the one before."""
    if unicodedata.category(char) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


class Row:
    """`chars` has "" in the right half of a wide character."""

    __slots__ = ("chars", "styles")

    def __init__(self, columns: int, style: Style = PLAIN) -> None:
        self.chars = [" "] * columns
        self.styles = [style] * columns

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Row):
            return NotImplemented
        return self.chars == other.chars and self.styles == other.styles

    def __hash__(self) -> int:
        raise TypeError("rows change")

    def copy(self) -> Row:
        """One of its own."""
        made = Row(0)
        made.chars, made.styles = self.chars[:], self.styles[:]
        return made

    def put(self, at: int, chars: str | list[str], style: Style) -> None:
        """Overwrite cells that are there; halves of wide characters do not stay."""
        end = at + len(chars)
        self.split(at)
        self.split(end)
        self.chars[at:end] = chars
        self.styles[at:end] = [style] * len(chars)

    def split(self, at: int) -> None:
        """Nothing wide is across the left side of the cell `at`."""
        if 0 < at < len(self.chars) and not self.chars[at]:
            self.chars[at - 1] = self.chars[at] = " "

    def mark(self, at: int, char: str) -> None:
        """Put a combining character onto a cell."""
        if not self.chars[at] and at:
            at -= 1
        if 0 < len(self.chars[at]) < MAX_MARKS:
            self.chars[at] += char

    def insert(self, at: int, count: int, style: Style) -> None:
        """Blanks at `at`; what is behind moves right, and out."""
        columns = len(self.chars)
        count = min(count, columns - at)
        self.split(at)
        self.split(columns - count)
        self.chars[at:] = [*" " * count, *self.chars[at : columns - count]]
        self.styles[at:] = [*[style] * count, *self.styles[at : columns - count]]

    def delete(self, at: int, count: int, style: Style) -> None:
        """Take cells out; what is behind moves left."""
        count = min(count, len(self.chars) - at)
        self.split(at)
        self.split(at + count)
        self.chars[at:] = [*self.chars[at + count :], *" " * count]
        self.styles[at:] = [*self.styles[at + count :], *[style] * count]

    def erase(self, start: int, end: int, style: Style) -> None:
        """Blanks from `start` up to `end`."""
        end = min(end, len(self.chars))
        if start < end:
            self.put(start, " " * (end - start), style)

    def fit(self, columns: int) -> None:
        """Be as wide as that."""
        have = len(self.chars)
        if columns < have:
            self.split(columns)
            del self.chars[columns:]
            del self.styles[columns:]
        else:
            self.chars += [" "] * (columns - have)
            self.styles += [PLAIN] * (columns - have)


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where it is, and how what is written there looks (DECSC)."""

    x: int = 0
    y: int = 0
    style: Style = PLAIN
    charsets: tuple[str, str] = ("B", "B")
    shift: int = 0
    origin: bool = False
    wraps: bool = False  # the next character begins the next row


class Grid:
    """The rows of a buffer. `on_gone` is given those that leave it at the top."""

    def __init__(self, columns: int, rows: int, on_gone: Callable[[list[Row]], None]) -> None:
        self.rows = [Row(columns) for _ in range(rows)]
        self.saved = Cursor()
        self._on_gone = on_gone

    def fill(self, char: str) -> None:
        """Every cell has `char`, plainly. Row by row: programs may have that done all the time."""
        for at in range(len(self.rows)):
            self.rows[at] = row = Row(len(self.rows[0].chars))
            if char != " ":
                row.chars = [char] * len(row.chars)

    def scroll_up(self, top: int, bottom: int, count: int, style: Style) -> None:
        """Rows from `top` to `bottom` move up; blank ones come in at the bottom."""
        count = min(count, bottom - top + 1)
        if not top:
            self._on_gone(self.rows[:count])
        self._move(top, bottom, count, style, out_at_top=True)

    def delete_rows(self, top: int, bottom: int, count: int, style: Style) -> None:
        """The same, but nothing goes by: the program took them out."""
        self._move(top, bottom, min(count, bottom - top + 1), style, out_at_top=True)

    def scroll_down(self, top: int, bottom: int, count: int, style: Style) -> None:
        """Rows move down; blank ones come in at the top."""
        self._move(top, bottom, min(count, bottom - top + 1), style, out_at_top=False)

    def _move(self, top: int, bottom: int, count: int, style: Style, *, out_at_top: bool) -> None:
        columns = len(self.rows[0].chars)
        fresh = [Row(columns, style) for _ in range(count)]
        if out_at_top:
            self.rows[top : bottom + 1] = [*self.rows[top + count : bottom + 1], *fresh]
        else:
            self.rows[top : bottom + 1] = [*fresh, *self.rows[top : bottom + 1 - count]]

    def resize(self, columns: int, rows: int, cursor: int) -> int:
        """Be of that size, with the cursor's row in it; how many rows left at the top for that.
        Blank rows below the cursor go first."""
        while len(self.rows) > rows and len(self.rows) - 1 > cursor:
            self.rows.pop()
        gone = max(0, len(self.rows) - rows)
        if gone:
            self._on_gone(self.rows[:gone])
            del self.rows[:gone]
        for row in self.rows:
            row.fit(columns)
        self.rows += [Row(columns) for _ in range(rows - len(self.rows))]
        return gone
