"""What a program writes to a shared terminal: the share and each viewer keep a screen of it."""

from __future__ import annotations

import random
from collections.abc import Iterable

from tests.fuzz.target import Target, require, same_however_cut
from tunnel.vt.drawing import draw
from tunnel.vt.painter import Painter
from tunnel.vt.screen import MAX_REPLIES, Screen

COLUMNS, ROWS, HISTORY = 12, 5, 20
OUTER = (9, 4)  # a person's terminal, smaller
PIECES = (
    b"abc", "漢字".encode(), "e\u0301".encode(), b"\r\n", b"\t", b"\b", b"\x1b7", b"\x1b8",
    b"\x1bM", b"\x1b[?1049h", b"\x1b[?1049l", b"\x1b[2;4r", b"\x1b[?6h", b"\x1b[4h", b"\x1b[3L",
    b"\x1b[2M", b"\x1b[99b", b"\x1b[4P", b"\x1b[2@", b"\x1b[2J", b"\x1b[1K", b"\x1b[38;5;9m",
    b"\x1b[48:2::1:2:3m",
    b"\x1b[3;3H", b"\x1b[5S", b"\x1b[5T", b"\x1b]0;title\x07", b"\x1bPq\x1b\\", b"\x1b(0", b"\x0e",
    b"\x1b[c", b"\x1b[6n", b"\x1b[?25$p", b"\x1bc", b"\x1b[!p", b"\x1b#8", b"\xff", b"\x1b",
    b"\x9b",
)  # fmt: skip


def run(data: bytes) -> None:
    """Nothing raises, the same comes out however it was cut, and all that is kept is bounded."""

    def feed(pieces: Iterable[bytes]) -> object:
        screen = Screen(COLUMNS, ROWS, HISTORY)
        for piece in pieces:
            screen.feed(piece)
        check(screen)
        return draw(screen)

    same_however_cut(data, feed)


def check(screen: Screen) -> None:
    """A screen that a person's terminal can be painted with, and a newcomer's drawn from."""
    for grid in (screen.main, screen.alternate):
        require(len(grid.rows) == ROWS, "rows")
        for row in grid.rows:
            require(len(row.chars) == len(row.styles) == COLUMNS, "columns")
    require(0 <= screen.x < COLUMNS and 0 <= screen.y < ROWS, "cursor")
    require(len(screen.history) <= HISTORY and len(screen.replies) <= MAX_REPLIES, "bounds")
    newcomer = Screen(COLUMNS, ROWS)
    newcomer.feed(draw(screen))
    require(newcomer.lines == screen.lines, "what is drawn is what there is")
    person, painter = Screen(*OUTER), Painter(*OUTER)
    person.feed(painter.begin() + painter.paint(screen, talks=True, notes=["note"]))
    person.feed(painter.paint(screen, talks=True, notes=[]))
    require((person.x, person.y) < OUTER, "a cursor on the terminal")
    require(not person.replies, "nobody is asked anything")


def generate(chance: random.Random) -> bytes:
    """Sequences that mean something, one after another."""
    return b"".join(chance.choice(PIECES) for _ in range(chance.randrange(30)))


TARGETS = (
    Target(
        "terminal-screen",
        run,
        (),
        (b"", b"hello\r\n", b"\x1b[?1049h\x1b[2;4r\x1b[31mx\x1b[2b", "漢字\x1b[1;2Hx".encode()),
        ("tunnel.vt.parser", "tunnel.vt.screen", "tunnel.vt.grid", "tunnel.vt.painter"),
        words=PIECES,
        generate=generate,
        max_len=300,
        share=0.1,
        slow="each input is drawn and painted several times",
    ),
)
