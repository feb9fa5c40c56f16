"""The emulator: what programs for xterm write, and what is then to be seen."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunnel.vt.drawing import draw
from tunnel.vt.screen import Screen

COLUMNS, ROWS = 12, 4


def shown(screen: Screen) -> list[str]:
    return ["".join(row.chars).rstrip() for row in screen.lines]


def after(text: str, columns: int = COLUMNS, rows: int = ROWS) -> Screen:
    screen = Screen(columns, rows)
    screen.feed(text.encode())
    return screen


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("one\r\ntwo", ["one", "two", "", ""]),
        ("a\r\nb\r\nc\r\nd\r\ne", ["b", "c", "d", "e"]),
        ("0123456789abc", ["0123456789ab", "c", "", ""]),  # folded when one more comes
        ("0123456789ab\r\nx", ["0123456789ab", "x", "", ""]),
        ("\x1b[?7l0123456789abcd", ["0123456789ad", "", "", ""]),
        ("ab\x1b[3b", ["abbbb", "", "", ""]),  # REP, which ncurses uses
        ("\x1b[2;3Hx\x1b[1;1Hy", ["y", "  x", "", ""]),
        ("a\r\nb\r\nc\r\nd\x1b[2S", ["c", "d", "", ""]),
        ("a\r\nb\r\nc\r\nd\x1b[1T", ["", "a", "b", "c"]),
        ("a\r\nb\r\nc\r\nd\x1b[2;3r\x1b[2;1H\x1b[M", ["a", "c", "", "d"]),
        ("a\r\nb\r\nc\r\nd\x1b[2;3r\x1b[2;1H\x1b[L", ["a", "", "b", "d"]),
        ("a\r\nb\r\nc\r\nd\x1b[2;3r\x1b[3;1H\nx", ["a", "c", "x", "d"]),
        ("a\x1b[2;3r\x1b[2;1H\x1bMx", ["a", "x", "", ""]),
        ("abcdef\x1b[1;3H\x1b[2P", ["abef", "", "", ""]),
        ("abcdef\x1b[1;3H\x1b[2@", ["ab  cdef", "", "", ""]),
        ("abcdef\x1b[1;3H\x1b[2X", ["ab  ef", "", "", ""]),
        ("abcdef\x1b[1;3H\x1b[K", ["ab", "", "", ""]),
        ("abcdef\x1b[1;3H\x1b[1K", ["   def", "", "", ""]),
        ("a\r\nb\x1b[J\x1b[2;1H\x1b[1J", ["", "", "", ""]),
        ("abc\x1b[1;2H\x1b[4hX\x1b[4lY", ["aXYc", "", "", ""]),
        ("a\tb\x1b[Z\x1b[Zc", ["c       b", "", "", ""]),
        ("\x1b[1;3H\x1bH\x1b[1;6H\x1bH\r\x1b[2Ix\x1b[3Zy", ["y    x", "", "", ""]),
        ("\x1b[9Ix\r\x1b[0Iy\x1b[9Zz", ["z       y  x", "", "", ""]),
        ("\x1b(0lqk\x1b(Blqk", ["┌─┐lqk", "", "", ""]),
        ("\x1b)0\x0ex\x0fx", ["│x", "", "", ""]),
        ("\x1b[2;2H\x1b7\x1b[1;1Hx\x1b8y", ["x", " y", "", ""]),
        ("\x1b[2;4r\x1b[?6h\x1b[1;1Hx\x1b[?6l\x1b[1;1Hy", ["y", "x", "", ""]),
        ("\x1b[2;4r\x1b[?6h\x1b#8x", ["E" * 12, "x" + "E" * 11, "E" * 12, "E" * 12]),
        ("\x1b[?6h\x1b7\x1b[2;4r\x1b8x", ["", "x", "", ""]),  # the region has changed since
        ("main\x1b[?1049h\x1b[Hother\x1b[?1049l!", ["main!", "", "", ""]),
        ("\x1b#8\x1bcx", ["x", "", "", ""]),
        ("\x1b]0;title\x07a\x1b]2;t\x1b\\b\x1bPq#0\x07\x1b\\c", ["abc", "", "", ""]),
        ("a\x1b]52;c;Zm9v\x18b", ["ab", "", "", ""]),
        ("\x1b[1;2", ["", "", "", ""]),
        ("\x1b[?0?5hx", ["x", "", "", ""]),
        ("漢字\x1b[1;2Hx", [" x字", "", "", ""]),  # half of a wide character does not stay
        ("0123456789a漢", ["0123456789a", "漢", "", ""]),
        ("e\u0301e", ["e\u0301e", "", "", ""]),
        ("\x1b[99999999999999;1Hx", ["", "", "", "x"]),
    ],
)
def test_what_is_shown(text: str, rows: list[str]) -> None:
    screen = after(text)
    assert shown(screen) == rows
    again = Screen(COLUMNS, ROWS)
    for byte in text.encode():
        again.feed(bytes([byte]))
    assert shown(again) == rows


def test_rows_that_leave_at_the_top_are_history() -> None:
    screen = after("1\r\n2\r\n3\r\n4\r\n5\r\n6")
    assert screen.gone == 2
    assert ["".join(row.chars).rstrip() for row in screen.history] == ["1", "2"]
    screen.feed(b"\x1b[?1049h" + b"\n" * 9)
    assert screen.gone == 2


def test_questions_of_programs_are_answered_once() -> None:
    screen = after("\x1b[c\x1b[2;3H\x1b[6n\x1b[5n\x1b[?25$p\x1b[?4242$p\x1b[>c")
    assert b"".join(screen.replies) == (
        b"\x1b[?62;22c\x1b[2;3R\x1b[0n\x1b[?25;1$y\x1b[?4242;0$y\x1b[>41;0;0c"
    )
    screen.feed(b"\x1b[5n" * 1000)
    assert len(screen.replies) < 20


def test_another_size() -> None:
    screen = after("1\r\n2\r\n3\r\n4")
    screen.resize(6, 2)
    assert shown(screen) == ["3", "4"]
    assert (screen.x, screen.y, screen.gone) == (1, 1, 2)
    screen.resize(20, 5)
    screen.feed(b"x")
    assert shown(screen) == ["3", "4x", "", "", ""]


def test_what_is_kept_is_bounded() -> None:
    screen = Screen(COLUMNS, ROWS, history=10)
    for piece in (b"\x1b]0;" + b"x" * 5000, b"\x07", b"\x1b[" + b"1" * 5000, b"m" + b"\n" * 500):
        screen.feed(piece)
    screen.feed(b"e" + "\u0301".encode() * 5000)
    assert len(screen.history) == 10
    assert max(len(char) for row in screen.lines for char in row.chars) < 20


PIECES = st.one_of(
    st.sampled_from(["漢", "e\u0301", "\U0001f600", "ab", "0123456789abcdef", "x"]),
    st.sampled_from(["\r", "\n", "\t", "\b", "\x0e", "\x0f", "\x1b7", "\x1b8", "\x1bM", "\x1bD"]),
    st.sampled_from(["\x1b(0", "\x1b(B", "\x1b)0", "\x1bH", "\x1b[g", "\x1b[3g", "\x1b=", "\x1bE"]),
    st.builds(
        "\x1b[{}{}".format,
        st.sampled_from(["", "0", "1", "2", "3", "2;3", "3;9", "1;31", "48;5;9", "38;2;1;2;3"]),
        st.sampled_from("ABCDEFGHIJKLMPSTXZ@`abdefmrsu"),
    ),
    st.builds(
        "\x1b[?{}{}".format,
        st.sampled_from([1, 5, 6, 7, 25, 47, 1000, 1006, 1047, 1049, 2004]),
        st.sampled_from("hl"),
    ),
)


def state(screen: Screen) -> list[object]:
    grids = [screen.main] + [screen.alternate] * screen.is_alternate
    return [
        [(row.chars, row.styles) for grid in grids for row in grid.rows],
        (screen.x, screen.y, screen.wraps, screen.style, screen.modes, screen.keypad),
        (screen.top, screen.bottom, screen.charsets, screen.shift, screen.inserts),
        {stop for stop in screen.tabs if stop < screen.columns},
        [(each.saved.x, each.saved.y, each.saved.style, each.saved.origin) for each in grids],
    ]


@given(st.lists(PIECES, max_size=40).map("".join))
def test_a_drawn_screen_is_the_same_screen(text: str) -> None:
    screen = after(text)
    newcomer = Screen(COLUMNS, ROWS)
    newcomer.feed(draw(screen))
    assert state(newcomer) == state(screen)
    for one in (screen, newcomer):
        one.feed(b"\x1b[?1049l\x1b8xyz\r\n\tmore\x1b[L")
    assert state(newcomer)[:3] == state(screen)[:3] or any(
        grid.saved.wraps for grid in (screen.main, screen.alternate)
    )


def test_a_sequence_that_is_too_long_means_nothing_however_it_is_cut() -> None:
    text = b"\x1b[" + b"9" * 500 + b"mx"
    whole, pieces = Screen(COLUMNS, ROWS), Screen(COLUMNS, ROWS)
    whole.feed(text)
    for byte in text:
        pieces.feed(bytes([byte]))
    assert shown(whole) == shown(pieces) == ["x", "", "", ""]


def test_tab_stops_are_not_looked_for_one_after_another() -> None:
    screen = Screen(500, 2)
    screen.feed(b"".join(b"\x1b[1;%dH\x1bH" % at for at in range(1, 500)))
    before = time.process_time()
    screen.feed(b"\x1b[999I\x1b[999Z" * 300)  # 75 million steps, taken one by one
    assert time.process_time() - before < 1


def test_a_newcomer_in_an_editor_that_was_begun_while_lines_were_drawn() -> None:
    screen = after("\x1b(0q\x1b[2;4r\x1b[?6h\x1b[?1049h\x1b(B\x1b[?6l\x1b[r\x1b[Hqqq")
    newcomer = Screen(COLUMNS, ROWS)
    newcomer.feed(draw(screen))
    assert shown(newcomer) == ["qqq", "", "", ""]
    newcomer.feed(b"\x1b[?1049lq")
    assert shown(newcomer)[0] == "─" or shown(newcomer)[1] == "─"
