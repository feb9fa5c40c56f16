from __future__ import annotations

import pytest

from tunnel.vt.keys import EscapeKeys


@pytest.mark.parametrize(
    ("typed", "out"),
    [
        (b"ls\r", [b"ls\r"]),
        (b"~.", ["."]),  # at the beginning, as after Enter
        (b"ls\r~.", [b"ls\r", "."]),
        (b"ls ~.", [b"ls ~."]),
        (b"\r~~.", [b"\r~."]),
        (b"\r~~\r~a~?x", [b"\r~\r", "a", "?", b"x"]),
        (b"\r~x.", [b"\r~x."]),
        (b"\n~?", [b"\n", "?"]),
        (b"~\r~.", [b"~\r", "."]),
    ],
)
def test_escapes(typed: bytes, out: list[bytes | str]) -> None:
    assert list(EscapeKeys(".?a").receive_data(typed)) == out
    one_by_one = EscapeKeys(".?a")
    pieces = [each for byte in typed for each in one_by_one.receive_data(bytes([byte]))]
    joined: list[bytes | str] = []
    for piece in pieces:
        last = joined[-1] if joined else ""
        if isinstance(piece, bytes) and isinstance(last, bytes):
            joined[-1] = last + piece
        else:
            joined.append(piece)
    assert joined == out
