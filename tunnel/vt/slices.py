"""How much of a program's output is looked at before something else is done. Pure.

A few bytes can be much work: two of them are a new screen, and a screen has up to 100,000 cells.
No program in the machine is to hold up all that the share does by writing such, and no share a
person who wants to leave.
"""

from __future__ import annotations

LARGEST = 8 * 1024  # bytes; of plain text they take a millisecond or two
MOST = 128  # sequences at once; each takes a millisecond at most
LONG = 0.01  # seconds of CPU time, after which something else has its turn
_ESCAPE = b"\x1b"


def first_slice(pending: bytes | bytearray) -> int:
    """How many bytes of `pending` are to be shown at once: some, if there are any."""
    whole = pending[:LARGEST]
    parts = whole.split(_ESCAPE, MOST + 1)
    return len(whole) - len(parts[-1]) - 1 if len(parts) > MOST + 1 else len(whole)
