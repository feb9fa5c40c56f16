"""What of a program's output is passed on, and that a newcomer's terminal comes to the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunnel.vt.screen import Screen
from vshare.terminals.screen import SharedScreen

COLUMNS, ROWS = 20, 5
PIECES = st.sampled_from(
    [b"hello world ", b"\r\n", b"\x1b[31m", b"\x1b[1;4;48;5;200m", b"\x1b[m", b"\x1b[2J", b"\x1b[H",
     "漢字".encode(), "e\u0301".encode(), b"\x1b[?1049h", b"\x1b[?1049l", b"\x1b[?25l",
     b"\x1b[2;4r", b"\x1b[3;7H", b"\x1b[?2004h", b"\x1b[?1006;1000h", b"\x1b(0qq\x1b(B", b"\t",
     b"\x1b[K", b"\x1b7", b"\x1b8", b"\x1b[c", b"\x1b[6n", b"\x1b]0;title\x07", b"\xff", b"\x1b[5L",
     b"\x1b[?7l", b"\x1b[?7h", b"\x1b[4h", b"\x1b[4l", b"\x1b[P", b"\x1bM", b"\x1b[3S", b"\x1b=",
     b"01234567890123456789", b"\x1b[?6h", b"\x1b[>4;2m", b"\x1bP+q544e\x1b\\"]
)  # fmt: skip


def cells(screen: Screen) -> list[object]:
    return [(row.chars, row.styles) for row in screen.lines]


def state(screen: Screen) -> object:
    return screen.x, screen.y, screen.modes, screen.top, screen.bottom, screen.is_alternate


@given(st.lists(PIECES, max_size=40), st.lists(PIECES, max_size=10), st.randoms())
def test_a_newcomer_sees_what_is_there_and_goes_on_alike(
    before: list[bytes], after: list[bytes], chance: object
) -> None:
    shared, early, late = SharedScreen(COLUMNS, ROWS), Screen(COLUMNS, ROWS), Screen(COLUMNS, ROWS)
    for piece in before:
        early.feed(shared.feed(piece)[0])
    assert cells(early) == cells(shared.screen)
    late.feed(shared.draw(scrollback=True))
    assert cells(late) == cells(shared.screen)
    assert state(late) == state(shared.screen)
    for piece in after:
        shown = shared.feed(piece)[0]
        early.feed(shown)
        late.feed(shown)
    assert cells(late) == cells(early) == cells(shared.screen)
    assert not early.replies
    assert not late.replies


@pytest.mark.parametrize(
    ("written", "shown", "answered"),
    [
        (b"\x1b[c", b"", b"\x1b[?62;22c"),
        (b"\x1b[>c", b"", b"\x1b[>41;0;0c"),
        (b"a\x1b[6n", b"a", b"\x1b[1;2R"),
        (b"\x1b[?2004$p", b"", b"\x1b[?2004;2$y"),
        (b"\x1b[21t", b"", b""),  # a window's title, said back as if it were typed
        (b"\x1bP$qm\x1b\\x", b"x", b""),
        (b"\x1b]52;c;ZWNobyBoaQ==\x07x", b"x", b""),  # the clipboard
        (b"\x1b]11;?\x1b\\x", b"x", b""),
        (b"\x1b]8;;http://evil/\x07link\x1b]8;;\x07", b"link", b""),
        (b"\x1b[>4;2m", b"", b""),  # keys that are written otherwise
        (b"\x1b[>1u\x1b[?u", b"", b""),
        (b"\x1b[?2026h\x1b[?25;99l", b"\x1b[?25l", b""),
        (b"\x1b]0;a\x1b\\", b"\x1b]2;a\x07", b""),
        (b"\x05\x00\x7f\xc2\x9b6n", b"6n", b""),
        (b"\x1b[31mred\x1b[m\r\n", b"\x1b[31mred\x1b[m\r\n", b""),
        (b"\x1b(Ax", b"\x1b(Bx", b""),
    ],
)
def test_what_asks_a_terminal_or_reaches_beyond_it_is_not_passed_on(
    written: bytes, shown: bytes, answered: bytes
) -> None:
    assert SharedScreen(COLUMNS, ROWS).feed(written) == (shown, answered)


def test_nothing_is_passed_on_in_half() -> None:
    shared = SharedScreen(COLUMNS, ROWS)
    written = "é漢\x1b[38;5;1mx\x1b]2;t\x07".encode()
    parts = [shared.feed(written[at : at + 1])[0] for at in range(len(written))]
    assert list(filter(None, parts)) == [
        "é".encode(),
        "漢".encode(),
        b"\x1b[38;5;1m",
        b"x",
        b"\x1b]2;t\x07",
    ]


@pytest.mark.parametrize("count", [1, 3, 6, 12, 400])
def test_a_newcomer_can_scroll_back(count: int) -> None:
    shared = SharedScreen(COLUMNS, ROWS)
    for number in range(count):
        shared.feed(b"\x1b[32mline %d\x1b[m\r\n" % number)
    late = Screen(COLUMNS, ROWS, 1_000)
    late.feed(shared.draw(scrollback=True))
    assert cells(late) == cells(shared.screen)
    expected = [row.chars for row in shared.screen.history]
    assert [row.chars for row in late.history] == expected


def test_the_title_comes_with_the_screen() -> None:
    shared = SharedScreen(COLUMNS, ROWS)
    shared.feed(b"\x1b]2;vim \x01notes\x07")
    assert b"\x1b]2;vim notes\x07" in shared.draw()
