"""A screen as output that draws it on another terminal of its size, which was reset. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from tunnel.vt.grid import Cursor, Row
from tunnel.vt.screen import ALTERNATE, DEFAULT_MODES, MAX_COLUMNS, ORIGIN, TAB, Screen
from tunnel.vt.style import PLAIN, Style, sgr

ENTER = f"\x1b[?{ALTERNATE[-1]}h"  # saves the cursor, too


def draw(screen: Screen) -> bytes:
    """All that a program could tell apart: both buffers, the cursor, modes, tab stops."""
    out = [_rows(screen.main.rows)]
    if screen.is_alternate:
        out += [_cursor(screen.main.saved), ENTER, mode(ORIGIN, on=False), _writing("BB", 0)]
        out.append(_rows(screen.alternate.rows))
    out += [_tabs(screen), _cursor(screen.grid.saved), "\x1b7", _state(screen)]
    return "".join(out).encode()


def _rows(rows: list[Row]) -> str:
    return "".join(
        f"{place(0, number)}{text}" for number, row in enumerate(rows) if (text := row_text(row))
    )


def row_text(row: Row) -> str:
    """A row from its beginning, without the blanks at its end."""
    end = len(row.chars)
    while end and row.chars[end - 1] == " " and row.styles[end - 1] == PLAIN:
        end -= 1
    return cells_text(row.chars[:end], row.styles[:end])


def cells_text(chars: Iterable[str], styles: Iterable[Style]) -> str:
    """Cells one after another, whatever was chosen before."""
    out: list[str] = []
    last: Style | None = None
    for char, style in zip(chars, styles, strict=True):
        if style is not last and style != last:
            out.append(sgr(style))
            last = style
        out.append(char)
    return "".join(out)


def place(x: int, y: int) -> str:
    """Move the cursor (CUP)."""
    return f"\x1b[{y + 1};{x + 1}H"


def mode(number: int, *, on: bool) -> str:
    """Set or reset a DEC private mode."""
    return f"\x1b[?{number}{'h' if on else 'l'}"


def _cursor(cursor: Cursor) -> str:
    """As it was saved. That it stood behind the last column is lost."""
    origin = mode(ORIGIN, on=cursor.origin)
    return f"{origin}{place(cursor.x, cursor.y)}{_writing(cursor.charsets, cursor.shift)}" + sgr(
        cursor.style
    )


def _writing(charsets: Iterable[str], shift: int) -> str:
    first, second = charsets
    return f"\x1b({first}\x1b){second}{chr(0x0E) if shift else chr(0x0F)}"


def _tabs(screen: Screen) -> str:
    usual = set(range(TAB, MAX_COLUMNS, TAB))
    if screen.tabs == usual:
        return ""
    stops = "".join(f"{place(at, 0)}\x1bH" for at in sorted(screen.tabs) if at < screen.columns)
    return f"\x1b[3g{stops}"


def _state(screen: Screen) -> str:
    out = []
    if (screen.top, screen.bottom) != (0, screen.rows - 1):
        out.append(f"\x1b[{screen.top + 1};{screen.bottom + 1}r")
    changed = (screen.modes ^ DEFAULT_MODES) - {ORIGIN}
    out += [mode(number, on=number in screen.modes) for number in sorted(changed)]
    out += ["\x1b=" if screen.keypad else "", "\x1b[4h" if screen.inserts else ""]
    out += [f"\x1b[{screen.cursor_shape} q" if screen.cursor_shape else ""]
    has_origin = ORIGIN in screen.modes
    out.append(mode(ORIGIN, on=has_origin))
    x, y = screen.x, screen.y - (screen.top if has_origin else 0)
    row = screen.lines[screen.y]
    if screen.wraps:  # behind the last column, where the character before is written anew
        x -= not row.chars[x]
        out += [_writing("BB", 0), place(x, y), cells_text([row.chars[x]], [row.styles[x]])]
    else:
        out.append(place(x, y))
    return "".join(out) + _writing(screen.charsets, screen.shift) + sgr(screen.style)
