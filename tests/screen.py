"""What a terminal shows after all that was written to it: as much of one as our programs need."""

from __future__ import annotations

import re

_PIECE = re.compile(r"\x1b\[(?P<number>[0-9;]*)(?P<command>[A-Za-z])|(?P<char>.)", re.DOTALL)


def screen(written: str, columns: int = 80) -> list[str]:
    """The rows, without what is blank at their ends; those that have gone by, too."""
    rows: list[list[str]] = [[]]
    row = column = 0
    for piece in _PIECE.finditer(written):
        char, command = piece["char"], piece["command"]
        if command == "J":
            assert piece["number"] in ("", "0")
            del rows[row + 1 :]
            del rows[row][column:]
        elif command is not None:
            assert command == "m", piece[0]
        elif char == "\r":
            column = 0
        elif char == "\n":
            row += 1
        else:
            assert char.isprintable(), written
            if column == columns:
                row, column = row + 1, 0
            rows += [[] for _ in range(row + 1 - len(rows))]
            rows[row] += " " * (column - len(rows[row]))
            rows[row][column : column + 1] = char
            column += 1
        rows += [[] for _ in range(row + 1 - len(rows))]
    return ["".join(each).rstrip() for each in rows]
