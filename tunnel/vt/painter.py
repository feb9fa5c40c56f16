"""A screen on a person's own terminal, of whatever size: only what changed is written. Pure.

Nothing that a program wrote gets there as it was: cells do, with their attributes, and a few
modes. So no title, no clipboard, no question and no picture of the machine's reaches a terminal.
Rows that leave the screen at the top go into the terminal's own scroll-back.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tunnel.vt.drawing import cells_text, mode, place, row_text
from tunnel.vt.grid import Row, width
from tunnel.vt.screen import ALTERNATE, CURSOR_KEYS, CURSOR_SHOWN, OUTER_MODES, Screen
from tunnel.vt.style import PLAIN, Style

MAX_PUSHED = 200  # rows for the scroll-back at once: of what went by faster than that, the last
# Modes that make the terminal say something: not where nobody would hear it.
TALKATIVE = OUTER_MODES - {CURSOR_KEYS, 5, 12}
_FILL = "·"
_INDENT = 3  # columns, of what does not fit into a note's first row
_DIM, _NOTE = Style((2,)), Style((7,))
_SAVE_TITLE, _RESTORE_TITLE = "\x1b[22;2t", "\x1b[23;2t"


@dataclass
class _Outer:
    """How the person's terminal is now, as far as it is our doing."""

    modes: set[int] = field(default_factory=set)
    keypad: bool = False
    shape: int = 0
    cursor: tuple[int, int] | None = (0, 0)  # None: hidden


class Painter:
    """For a terminal of `columns` and `rows`. Bytes that are returned have to be written, in
    order; `begin` first, `finish` last."""

    def __init__(self, columns: int, rows: int) -> None:
        self.columns, self.rows = columns, rows
        self._shown: list[Row] | None = None  # None: nobody knows
        self._below: list[Row] | None = None  # what the main buffer shows, under the other one
        self._outer = _Outer()
        self._is_alternate = False
        self._screen: Screen | None = None  # the one that was painted last
        self._top = 0  # number of the row at the top, counted since that screen began
        self._x = self._y = 0  # which cell of the screen is in the corner

    @property
    def corner(self) -> tuple[int, int]:
        """The column and row of the screen's cell that is in the terminal's upper left corner."""
        return self._x, self._y

    def begin(self) -> bytes:
        """What is on the terminal goes into its scroll-back."""
        self._shown = self._blank()
        pushed = "\n" * self.rows
        return f"{_SAVE_TITLE}{place(0, self.rows - 1)}{pushed}\x1b[0m\x1b[H\x1b[2J".encode()

    def finish(self) -> bytes:
        """All that we set is as it was; the cursor is below what is shown."""
        rows = self._shown or []
        last = max((number for number, row in enumerate(rows) if row_text(row)), default=0)
        leave = mode(ALTERNATE[-1], on=False) if self._is_alternate else ""
        off = "".join(mode(number, on=False) for number in sorted(self._outer.modes))
        rest = f"\x1b>\x1b[0 q\x1b[0m{mode(CURSOR_SHOWN, on=True)}{_RESTORE_TITLE}"
        end = place(0, self.rows - 1) if self._is_alternate else place(0, last)
        return f"{off}{leave}{rest}{end}\r\n".encode()

    def begin_with(self, screen: Screen) -> None:
        """`screen` is the first one: what has left it already goes into the scroll-back, too."""
        self._screen, self._top = screen, 0

    def resized(self, columns: int, rows: int) -> None:
        """The terminal has another size: what is on it now is its own idea."""
        self.columns, self.rows = columns, rows
        self._shown = self._below = None

    def title(self, text: str) -> bytes:
        """What the window is called; without control characters."""
        return f"\x1b]2;{text}\x07".encode()

    def paint(self, screen: Screen, *, talks: bool, notes: list[str]) -> bytes:
        """Show `screen`, with `notes` over its last rows. `talks`: what is typed counts."""
        self._follow_cursor(screen)
        out = [self._change_buffer(screen), self._scroll(screen)]
        wanted = self._wanted(screen, notes)
        if self._shown is None:
            out.append("\x1b[0m\x1b[H\x1b[2J")
            self._shown = self._blank()
        changed = [
            text for y, row in enumerate(wanted) if (text := _difference(self._shown[y], row, y))
        ]
        self._shown = wanted
        if len(changed) > 1 and self._outer.cursor is not None:
            self._outer.cursor = None
            out.append(mode(CURSOR_SHOWN, on=False))
        out += changed
        out.append(self._set_modes(screen, talks=talks))
        out.append(self._set_cursor(screen, moved=any(out)))
        self._screen = screen
        return "".join(out).encode()

    # -- inside

    def _blank(self) -> list[Row]:
        return [Row(self.columns) for _ in range(self.rows)]

    def _follow_cursor(self, screen: Screen) -> None:
        """Where the terminal is smaller, the cursor's place is what is seen of the screen."""
        self._x = _panned(self._x, screen.x, self.columns, screen.columns)
        self._y = _panned(self._y, screen.y, self.rows, screen.rows)

    def _change_buffer(self, screen: Screen) -> str:
        if screen.is_alternate == self._is_alternate:
            return ""
        self._is_alternate = screen.is_alternate
        if self._is_alternate:
            self._below, self._shown = self._shown, self._blank()
            return f"{mode(ALTERNATE[-1], on=True)}\x1b[0m\x1b[H\x1b[2J"
        self._shown = self._below
        return f"\x1b[0m{mode(ALTERNATE[-1], on=False)}"

    def _scroll(self, screen: Screen) -> str:
        """Let rows that have left the screen leave the terminal, in its own way."""
        if screen.is_alternate:
            return ""
        before, self._top = self._top, screen.gone + self._y
        count = min(self._top - before, MAX_PUSHED)
        if screen is not self._screen or self._shown is None or count <= 0:
            return ""
        first = max(self._top - count, screen.gone - len(screen.history))
        out = []
        leaving = [self._cut(_numbered(screen, at)) for at in range(first, self._top)]
        for at in range(0, len(leaving), self.rows):
            rows = leaving[at : at + self.rows]
            out += [_difference(self._shown[y], row, y) for y, row in enumerate(rows)]
            out.append(f"\x1b[0m{place(0, self.rows - 1)}" + "\n" * len(rows))
            self._shown = [*self._shown, *(Row(self.columns) for _ in rows)][len(rows) :]
        self._outer.cursor = None
        return mode(CURSOR_SHOWN, on=False) + "".join(out)

    def _wanted(self, screen: Screen, notes: list[str]) -> list[Row]:
        lines = screen.lines[self._y : self._y + self.rows]
        rows = [self._cut(row) for row in lines]
        rows += [_filled(self.columns) for _ in range(self.rows - len(rows))]
        said = [row for text in notes for row in _note(text, self.columns)][-self.rows :]
        rows[self.rows - len(said) :] = said
        return rows

    def _cut(self, row: Row) -> Row:
        """What of a screen's row is seen."""
        made = row.copy()
        if self._x:
            made.split(self._x)
            del made.chars[: self._x], made.styles[: self._x]
        have = len(made.chars)
        made.fit(self.columns)
        if have < self.columns:
            made.put(have, _FILL * (self.columns - have), _DIM)
        return made

    def _set_modes(self, screen: Screen, *, talks: bool) -> str:
        outer = self._outer
        modes = (screen.modes & OUTER_MODES) - (set() if talks else TALKATIVE)
        out = [mode(number, on=number in modes) for number in sorted(modes ^ outer.modes)]
        outer.modes = modes
        if screen.keypad != outer.keypad:
            outer.keypad = screen.keypad
            out.append("\x1b=" if screen.keypad else "\x1b>")
        if screen.cursor_shape != outer.shape:
            outer.shape = screen.cursor_shape
            out.append(f"\x1b[{outer.shape} q")
        return "".join(out)

    def _set_cursor(self, screen: Screen, *, moved: bool) -> str:
        x, y = screen.x - self._x, screen.y - self._y
        is_seen = CURSOR_SHOWN in screen.modes and x < self.columns and y < self.rows
        wanted = (x, y) if is_seen else None
        before, self._outer.cursor = self._outer.cursor, wanted
        if wanted is None:
            return mode(CURSOR_SHOWN, on=False) if before is not None else ""
        shown = mode(CURSOR_SHOWN, on=True) if before is None else ""
        return f"{shown}{place(x, y)}" if shown or moved or wanted != before else ""


def _panned(before: int, cursor: int, have: int, want: int) -> int:
    """The first of `want` cells to show in `have`, so that the cursor is among them."""
    least, most = cursor - have + 1, cursor
    return min(max(before, least, 0), most, max(want - have, 0))


def _numbered(screen: Screen, number: int) -> Row:
    """A row by how many ever left before it."""
    at = number - screen.gone
    return screen.lines[at] if at >= 0 else screen.history[len(screen.history) + at]


def _filled(columns: int) -> Row:
    row = Row(0)
    row.chars, row.styles = [_FILL] * columns, [_DIM] * columns
    return row


def _note(text: str, columns: int) -> list[Row]:
    """All of `text`, in as many rows as it takes: it may be what somebody else wants to run."""
    rows = [Row(columns, _NOTE)]
    x = min(1, columns - 1)
    for char in text:
        size = width(char)
        if not size or size > columns:
            continue
        if x + size > columns:
            rows.append(Row(columns, _NOTE))
            x = max(0, min(_INDENT, columns - 2))
        rows[-1].put(x, [char, ""][:size], _NOTE)
        x += size
    return rows


def _difference(old: Row, new: Row, y: int) -> str:
    """What makes `new` out of `old`, in row `y`."""
    if old == new:
        return ""
    end = len(new.chars)
    differs = [
        at
        for at in range(end)
        if new.chars[at] != old.chars[at] or new.styles[at] != old.styles[at]
    ]
    first, last = differs[0], differs[-1]
    while first and not (new.chars[first] and old.chars[first]):
        first -= 1
    while last + 1 < end and not (new.chars[last + 1] and old.chars[last + 1]):
        last += 1
    blank_from = end
    while blank_from > first and (new.chars[blank_from - 1], new.styles[blank_from - 1]) == (
        " ",
        PLAIN,
    ):
        blank_from -= 1
    if blank_from > last:
        return place(first, y) + _cells(new, first, last + 1)
    return f"{place(first, y)}{_cells(new, first, blank_from)}\x1b[0m\x1b[K"


def _cells(row: Row, start: int, end: int) -> str:
    """Cells; behind one of which terminals may think that it is narrower or wider than we do, the
    column is said again."""
    chars = row.chars[start:end]
    text = "".join(chars)
    if len(text) == len(chars):  # nothing wide, nothing combined
        return cells_text(chars, row.styles[start:end])
    said = list(chars)
    for at, char in enumerate(chars, start):
        columns = 2 if at + 1 < len(row.chars) and not row.chars[at + 1] else 1
        if char and (columns == 2 or len(char) > 1):
            said[at - start] = f"{char}\x1b[{at + columns + 1}G"
    return cells_text(said, row.styles[start:end])
