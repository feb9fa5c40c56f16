"""What a terminal tells of its mouse, where it shows a part of the screen: the program is told
which cell of the screen it was. Pure.

Source: https://invisible-island.net/xterm/ctlseqs/ctlseqs.html, "Mouse Tracking".
"""

from __future__ import annotations

import re

_SGR = rb"\x1b\[<(?P<button>\d{1,4});(?P<column>\d{1,4});(?P<row>\d{1,4})(?P<end>[Mm])"
_OLD = rb"\x1b\[M(?P<old_button>.)(?P<old_column>[\x21-\xff])(?P<old_row>[\x21-\xff])"
_REPORT = re.compile(rb"(?s:" + _SGR + rb"|" + _OLD + rb")")
_OLD_LAST = 0xFF  # what one byte can say: reports of cells further to the right do not exist


def moved(data: bytes, columns: int, rows: int) -> bytes:
    """What was typed, `data`, with the mouse so many cells further right and down. A report is
    looked for in one piece of `data`, as terminals write it."""
    if not columns and not rows:
        return data

    def move(report: re.Match[bytes]) -> bytes:
        if report["end"]:
            column, row = int(report["column"]) + columns, int(report["row"]) + rows
            return b"\x1b[<%b;%d;%d%b" % (report["button"], column, row, report["end"])
        column, row = report["old_column"][0] + columns, report["old_row"][0] + rows
        if max(column, row) > _OLD_LAST:
            return b""
        return b"\x1b[M" + report["old_button"] + bytes((column, row))

    return _REPORT.sub(move, data)
