"""What is looked at at once of a program's output."""

from __future__ import annotations

import pytest

from tunnel.vt.slices import LARGEST, MOST, first_slice


@pytest.mark.parametrize(
    ("pending", "size"),
    [
        (b"", 0),
        (b"text", 4),
        (b"x" * 3 * LARGEST, LARGEST),
        (b"\x1bc" * MOST, 2 * MOST),
        (b"\x1bc" * (MOST + 1), 2 * MOST),
        (b"\x1b" * 3 * MOST, MOST),
        (b"x" * LARGEST + b"\x1bc" * 3 * MOST, LARGEST),
        (b"text" + b"\x1bc" * LARGEST, 4 + 2 * MOST),
    ],
)
def test_what_is_shown_at_once(pending: bytes, size: int) -> None:
    assert first_slice(pending) == first_slice(bytearray(pending)) == size
