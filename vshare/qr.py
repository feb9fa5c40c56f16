"""The URL as a QR code in the terminal, of half blocks: a character is two modules, one above the
other."""

from __future__ import annotations

from itertools import zip_longest
from urllib.parse import urlsplit

import segno

from tunnel.console import Console
from tunnel.errors import UsageError
from vshare.machine import parse_ip
from vshare.web.sites import host_of

_BLOCKS = {(0, 0): " ", (1, 0): "\u2580", (0, 1): "\u2584", (1, 1): "\u2588"}
# Black on white whatever the terminal's own colours are: of the 256, these two are not themed.
_BLACK_ON_WHITE, _RESET = "\x1b[38;5;16;48;5;231m", "\x1b[0m"


def check(console: Console) -> None:
    """Raise UsageError where a QR code would be seen by nobody."""
    if console.as_json:
        raise UsageError("--qr and --json contradict each other", "leave one out")
    if not console.shows_pictures:
        raise UsageError(
            "--qr needs a terminal that shows block characters, and stderr is none",
            "leave --qr out; the URL is printed all the same",
        )


def pick(url: str, https_url: str) -> str:
    """Which of a share's URLs, of which either may be empty, a phone opens without a warning: the
    encrypted one, but where its host is an address or below `.localhost`, for which there are no
    certificates that browsers believe."""
    host = host_of(urlsplit(https_url).netloc)
    is_name = parse_ip(host) is None and not host.endswith(".localhost")
    return (https_url or url) if is_name else (url or https_url)


def show(console: Console, url: str) -> None:
    """Draw `url`, where it has room."""
    lines, columns = draw(url, colour=console.has_colour)
    if console.columns < columns:
        console.detail(
            f"The QR code needs {columns} columns, and the terminal has {console.columns}."
        )
        return
    for line in lines:
        console.draw(line)
    console.detail(f"It says {url}")


def draw(text: str, *, colour: bool) -> tuple[list[str], int]:
    """The lines, and how many columns they take.

    Without colour the light modules are what is drawn: right on a dark screen, inverted on a light
    one, which most readers take too.
    """
    code = segno.make(text, error="l", micro=False)
    rows = [[bool(module) == colour for module in row] for row in code.matrix_iter(border=4)]
    columns = len(rows[0])
    drawn = []
    for upper, lower in zip_longest(rows[::2], rows[1::2], fillvalue=[False] * columns):
        line = "".join(_BLOCKS[pair] for pair in zip(upper, lower, strict=True))
        drawn.append(f"{_BLACK_ON_WHITE}{line}{_RESET}" if colour else line)
    return drawn, columns
