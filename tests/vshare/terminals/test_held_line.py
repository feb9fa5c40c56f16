"""A guest's line that waits for the sharer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunnel.looks import is_seen
from vshare.terminals.held_line import MAX_LINE, MAX_NEXT, HeldLine


def after(data: bytes) -> HeldLine:
    line = HeldLine()
    line.receive_data(data)
    return line


@pytest.mark.parametrize(
    ("typed", "text", "waits"),
    [
        (b"ls -l", "ls -l", False),
        (b"ls\r", "ls", True),
        (b"ls\n", "ls", True),
        (b"lx\x7fs\x08\x08df\r", "df", True),
        (b"rm -rf /\x15ls\r", "ls", True),
        (b"rm -rf /\x03ls\r", "ls", True),
        (b"\x1b[A\x1b[1;5D\x1bOCls\x1bx\r", "ls", True),
        (b"\x1b[200~make\x1b[201~\r", "make", True),
        ("é漢\r".encode(), "é漢", True),
        ("e\u0301\u1100\u1161\u11a8\r".encode(), "é\uac01", True),
        ("l\ufe0f\U000e0101s\u3164\u0336\u115f\u2800\r".encode(), "ls", True),  # unseen
        ("\u0301ls\u202e\u200b\r".encode(), "ls", True),
        (b"a\x0fb\x00\x04\x1a\r", "ab", True),  # Ctrl-O would run a line in bash
        (b"one\rtwo\r", "one", True),
        (b"\r", "", True),
    ],
)
def test_what_a_line_is(typed: bytes, text: str, waits: bool) -> None:
    line = after(typed)
    assert (line.text, line.waits) == (text, waits)
    pieces = HeldLine()
    for at in range(len(typed)):
        pieces.receive_data(typed[at : at + 1])
    assert (pieces.text, pieces.waits) == (text, waits)


def test_lines_come_one_after_another() -> None:
    line = after(b"one\rtwo\rthr")
    assert line.release() == b"one\r"
    assert (line.text, line.waits) == ("two", True)
    line.drop()
    assert (line.text, line.waits) == ("thr", False)
    assert line.release() == b""
    line.drop()
    assert line.text == "thr"


def test_what_is_kept_is_bounded() -> None:
    line = after(b"x" * 10_000 + b"\r" + b"y" * 10_000)
    assert len(line.text) == MAX_LINE
    line.drop()
    assert len(line.text) <= MAX_NEXT


@given(st.binary(max_size=60))
def test_nothing_but_text_and_one_enter_is_let_through(typed: bytes) -> None:
    released = after(typed).release()
    if released:
        assert released.endswith(b"\r")
        assert all(map(is_seen, released[:-1].decode()))
