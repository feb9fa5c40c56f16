from __future__ import annotations

import re

import pytest
import segno

from tunnel.console import Console
from tunnel.errors import UsageError
from vshare.qr import check, draw, pick

URL = "https://frosty-weasel-0857.relay.example/"
UPPER, LOWER = {"\u2580", "\u2588"}, {"\u2584", "\u2588"}


def modules(lines: list[str]) -> list[list[bool]]:
    """What is drawn in the foreground, row by row."""
    return [[char in half for char in line] for line in lines for half in (UPPER, LOWER)]


@pytest.mark.parametrize("url", [URL, "http://a.b/", URL + "x" * 80])
def test_black_modules_on_white_ones(url: str) -> None:
    lines, columns = draw(url, colour=True)
    painted = [re.fullmatch(r"\x1b\[38;5;16;48;5;231m([^\x1b]+)\x1b\[0m", line) for line in lines]
    rows = modules([match[1] for match in painted if match])
    wanted = [
        [bool(module) for module in row]
        for row in segno.make(url, error="l", micro=False).matrix_iter(border=4)
    ]
    assert rows[: len(wanted)] == wanted
    assert not any(any(row) for row in rows[len(wanted) :])
    assert {len(row) for row in rows} == {columns}
    assert len(lines) == (columns + 1) // 2


def test_without_colour_the_light_ones_are_drawn() -> None:
    dark, columns = draw(URL, colour=True)
    light, _ = draw(URL, colour=False)
    assert "\x1b" not in "".join(light)
    black = modules([line[len("\x1b[38;5;16;48;5;231m") : -len("\x1b[0m")] for line in dark])
    white = modules(light)
    assert white[:columns] == [[not module for module in row] for row in black[:columns]]
    assert all(white[0])  # the quiet zone
    assert not any(white[-1])  # half a row that is none


def test_nobody_would_see_it() -> None:
    with pytest.raises(UsageError, match="--qr and --json contradict each other"):
        check(Console("demo", as_json=True))
    with pytest.raises(UsageError, match="--qr needs a terminal"):
        check(Console("demo"))


@pytest.mark.parametrize(
    ("url", "https_url", "picked"),
    [
        ("http://a.example/", "https://a.example/", "https://a.example/"),
        ("http://a.example/", "", "http://a.example/"),
        ("", "https://a.example/", "https://a.example/"),
        ("http://a.localhost:81/", "https://a.localhost:81/", "http://a.localhost:81/"),
        ("http://192.0.2.7:81/", "https://192.0.2.7:81/", "http://192.0.2.7:81/"),
        ("http://[2001:db8::7]/", "https://[2001:db8::7]/", "http://[2001:db8::7]/"),
        ("", "https://192.0.2.7/", "https://192.0.2.7/"),
    ],
)
def test_the_url_that_browsers_open_without_a_warning(
    url: str, https_url: str, picked: str
) -> None:
    assert pick(url, https_url) == picked
