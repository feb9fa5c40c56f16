from __future__ import annotations

import pytest

from tunnel.vt.mouse import moved


@pytest.mark.parametrize(
    ("typed", "out"),
    [
        (b"ls\r", b"ls\r"),
        (b"\x1b[<0;3;2M\x1b[<0;3;2m", b"\x1b[<0;33;7M\x1b[<0;33;7m"),
        (b"a\x1b[<64;1;1Mb\x1b[A", b"a\x1b[<64;31;6Mb\x1b[A"),
        (b"\x1b[M !!", b"\x1b[M ?&"),
        (b"\x1b[M \xf0!x", b"x"),  # too far to the right for that way of saying it
        (b"\x1b[<0;3", b"\x1b[<0;3"),
        (b"\x1b[1;5C", b"\x1b[1;5C"),
    ],
)
def test_a_report_is_of_the_screens_cell(typed: bytes, out: bytes) -> None:
    assert moved(typed, 30, 5) == out
    assert moved(typed, 0, 0) == typed
