"""A screen painted on terminals of other sizes; the emulator stands for the terminal."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tunnel.vt.test_screen import PIECES, shown
from tunnel.vt.painter import Painter
from tunnel.vt.screen import CURSOR_SHOWN, OUTER_MODES, Screen

FILL = "·"


class Person:
    """Sits at a terminal, and sees what is painted."""

    def __init__(self, columns: int, rows: int, talks: bool = True) -> None:
        self.outer = Screen(columns, rows)
        self.painter = Painter(columns, rows)
        self.talks = talks
        self.outer.feed(b"mine")
        self.outer.feed(self.painter.begin())

    def look(self, screen: Screen, *notes: str) -> bytes:
        data = self.painter.paint(screen, talks=self.talks, notes=list(notes))
        self.outer.feed(data)
        return data

    def leave(self) -> None:
        self.outer.feed(self.painter.finish())


def fed(columns: int, rows: int, text: str) -> Screen:
    screen = Screen(columns, rows)
    screen.feed(text.encode())
    return screen


def past(screen: Screen) -> list[str]:
    return ["".join(row.chars).rstrip() for row in screen.history]


def test_a_larger_terminal_has_the_rest_filled() -> None:
    person = Person(8, 3)
    person.look(fed(5, 2, "ab\r\ncd"))
    assert shown(person.outer) == ["ab   " + FILL * 3, "cd   " + FILL * 3, FILL * 8]
    assert (person.outer.x, person.outer.y) == (2, 1)


@pytest.mark.parametrize("columns", [1, 2, 3, 9, 20, 80])
def test_notes_are_shown_to_their_ends(columns: int) -> None:
    person = Person(columns, 100)
    person.look(fed(5, 2, ""), "> ab漢字cdefgh ij; rm -rf x")
    seen = "".join("".join(row.chars) for row in person.outer.lines).replace(FILL, "")
    wanted = "> ab漢字cdefgh ij; rm -rf x" if columns > 1 else "> abcdefgh ij; rm -rf x"
    assert seen.replace(" ", "") == wanted.replace(" ", "")


def test_a_note_that_goes_on_is_no_new_sentence() -> None:
    person = Person(12, 4)
    person.look(fed(5, 1, ""), "> echo 1234 Ada asks", "said")
    assert shown(person.outer)[1:] == [" > echo 1234", "    Ada asks", " said"]


def test_a_smaller_terminal_follows_the_cursor() -> None:
    person = Person(4, 2)
    screen = fed(8, 4, "abcdefgh\r\n1\r\n2\r\n34567")
    person.look(screen)
    assert shown(person.outer) == ["", "567"]
    screen.feed(b"\x1b[H")
    person.look(screen)
    assert shown(person.outer) == ["abcd", "1"]


def test_only_what_changed_is_written() -> None:
    person = Person(80, 24)
    screen = fed(80, 24, "hello " * 200)
    person.look(screen)
    assert person.look(screen) == b""
    screen.feed(b"x")
    assert len(person.look(screen)) < 40


def test_what_leaves_the_screen_can_be_scrolled_back_to() -> None:
    person = Person(10, 3)
    screen = Screen(10, 3)
    for number in range(9):
        screen.feed(b"%d\r\n" % number)
        person.look(screen)
    assert past(person.outer)[0] == "mine"
    assert past(person.outer)[-7:] == list("0123456")
    screen.feed("".join(f"\r\n{number}" for number in range(20, 30)).encode())
    person.look(screen, "a note")
    assert past(person.outer)[-10:] == ["7", "8", "", *map(str, range(20, 27))]
    assert "a note" in shown(person.outer)[2]
    person.look(screen)
    assert shown(person.outer) == ["27", "28", "29"]
    assert CURSOR_SHOWN in person.outer.modes


def test_a_first_screen_brings_its_history() -> None:
    person = Person(10, 3)
    screen = fed(10, 3, "1\r\n2\r\n3\r\n4\r\n5")
    person.painter.begin_with(screen)
    person.look(screen)
    assert past(person.outer)[-2:] == ["1", "2"]
    assert shown(person.outer) == ["3", "4", "5"]


def test_full_screen_programs_have_the_other_buffer() -> None:
    person = Person(10, 3)
    screen = fed(10, 3, "$ vi\x1b[?1049h\x1b[Htext\x1b[?1h\x1b=\x1b[?1000h\x1b[5 q")
    person.look(screen)
    assert shown(person.outer)[0] == "text"
    assert person.outer.modes >= {1, 1000}
    assert (person.outer.keypad, person.outer.cursor_shape) == (True, 5)
    screen.feed(b"\x1b[?1049l\x1b[?1l\x1b>\x1b[?1000l\x1b[0 q")
    person.look(screen)
    assert shown(person.outer) == ["$ vi", "", ""]
    assert not person.outer.modes & {1, 1000}


def test_nothing_of_ours_stays_behind() -> None:
    person = Person(10, 3)
    screen = fed(10, 3, "\x1b[?1049h\x1b[?1h\x1b=\x1b[?1000h\x1b[?2004h\x1b[?25l\x1b[31mred")
    person.look(screen)
    assert CURSOR_SHOWN not in person.outer.modes
    person.leave()
    assert not person.outer.modes & OUTER_MODES
    assert CURSOR_SHOWN in person.outer.modes
    assert not person.outer.is_alternate
    assert not person.outer.keypad
    assert past(person.outer)[:1] == ["mine"]
    person.outer.feed(b"x")
    assert person.outer.lines[person.outer.y].styles[0].foreground == ""


def test_who_may_not_type_is_not_asked_for_mice_and_pastes() -> None:
    person = Person(10, 3, talks=False)
    screen = fed(10, 3, "\x1b[?1h\x1b[?1000;1006;2004;1004h")
    person.look(screen)
    assert person.outer.modes & OUTER_MODES == {1}
    person.talks = True
    person.look(screen)
    assert person.outer.modes & OUTER_MODES == {1, 1000, 1004, 1006, 2004}


@pytest.mark.parametrize(
    "written",
    [
        "\x1b]52;c;Zm9v\x07",  # the clipboard
        "\x1b]2;mine\x07",  # the window's title
        "\x1b]8;;https://evil.example\x07link\x1b]8;;\x07",
        "\x1b]4;1;#fff\x07",  # colours
        "\x1b[c\x1b[6n\x1b[>q\x1b[21t\x1bP+q544e\x1b\\\x05",  # questions
        "\x1b[8;99;99t\x1b[2t",  # the window's size
        "\x1b[5i\x1bP1000p\x1b\\",  # a printer; tmux's control mode
        "\x1b_Gq\x1b\\\x1bPq#0\x1b\\",  # pictures
        "\x1bPtmux;\x1b\x1b]52;c;Zm9v\x07\x1b\\",
        "\x1bc\x9b31m",
    ],
)
def test_nothing_of_the_machines_passes(written: str) -> None:
    """Only what a painter writes itself reaches the terminal."""
    person = Person(20, 3)
    screen = fed(20, 3, "x" + written)
    data = person.look(screen).decode()
    rest = re.sub(r"\x1b\[(\d*;\d*H|[\d;]*m|K|\?\d+[hl]|H|2J)", "", data)
    assert rest.isprintable(), rest


def test_a_window_that_gets_another_size() -> None:
    person = Person(10, 3)
    screen = fed(10, 3, "one\r\ntwo")
    person.look(screen)
    person.outer.resize(12, 2)
    person.outer.feed(b"\x1b[Hwhatever")
    person.painter.resized(12, 2)
    person.look(screen)
    assert shown(person.outer) == ["one       " + FILL * 2, "two       " + FILL * 2]


SIZES = st.tuples(st.integers(1, 16), st.integers(1, 6))


@given(st.lists(st.lists(PIECES, max_size=12).map("".join), max_size=6), SIZES)
def test_what_is_painted_is_what_there_is(pieces: list[str], size: tuple[int, int]) -> None:
    """On the terminal is the part of the screen that fits, whatever was there before."""
    screen, person = Screen(12, 4), Person(*size)
    for piece in pieces:
        screen.feed(piece.encode())
        person.look(screen, *(["a note"] if "\t" in piece else []))
    person.look(screen)
    outer, x, y = person.outer, person.painter._x, person.painter._y
    assert outer.is_alternate == screen.is_alternate
    for at, row in enumerate(outer.lines[: screen.rows - y]):
        whole = screen.lines[at + y]
        for column in range(min(outer.columns, screen.columns - x)):
            left, right = x + column, x + column + 1
            is_cut = (not column and not whole.chars[left]) or (
                column + 1 == outer.columns and right < 12 and not whole.chars[right]
            )
            if not is_cut:
                assert row.chars[column] == whole.chars[left]
            assert row.styles[column] == whole.styles[left]
    assert (outer.x, outer.y) == (screen.x - x, screen.y - y) or CURSOR_SHOWN not in screen.modes
    assert (CURSOR_SHOWN in outer.modes) == (CURSOR_SHOWN in screen.modes)
