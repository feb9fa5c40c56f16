"""How a cell looks: SGR (ECMA-48 8.3.117), with colours as xterm has them. Pure."""

from __future__ import annotations

import functools
from typing import NamedTuple

MAX_NUMBER = 9999  # of a parameter: more than any screen has cells in a row
CACHED = 4096  # combinations that are kept: a screen that uses more is a picture

_OFF = {22: (1, 2), 23: (3,), 24: (4, 21), 25: (5,), 27: (7,), 28: (8,), 29: (9,)}
_ON = frozenset((1, 2, 3, 4, 5, 7, 8, 9, 21))
_FOREGROUND, _BACKGROUND, _UNDERLINE = 38, 48, 58
_ARGUMENTS = {2: 3, 5: 1}  # of a colour: red, green, blue; a number of the palette


class Style(NamedTuple):
    """Attributes (numbers of SGR), and colours as SGR writes them; empty: the terminal's own."""

    attributes: tuple[int, ...] = ()
    foreground: str = ""
    background: str = ""


PLAIN = Style()


@functools.lru_cache(CACHED)
def sgr(style: Style) -> str:
    """The sequence that makes what follows look so, whatever was before."""
    words = ["0", *map(str, style.attributes), style.foreground, style.background]
    return f"\x1b[{';'.join(filter(None, words))}m"


@functools.lru_cache(CACHED)
def blank(style: Style) -> Style:
    """How a cell looks that is erased while `style` is chosen: xterm keeps the background."""
    return Style(background=style.background)


@functools.lru_cache(CACHED)
def styled(style: Style, parameters: str) -> Style:
    """`style` after SGR with these parameters. What is not known changes nothing."""
    attributes, foreground, background = set(style.attributes), *style[1:]
    codes = iter(parameters.split(";"))
    for word in codes:
        number, *more = (numbers(word, ":")) or [0]
        if number == 0 and not more:
            attributes, foreground, background = set(), "", ""
        elif number in (_FOREGROUND, _BACKGROUND, _UNDERLINE):
            colour = _colour(more or [parsed(each) for each in _taken(codes)])
            if colour and number == _FOREGROUND:
                foreground = f"38;{colour}"
            elif colour and number == _BACKGROUND:
                background = f"48;{colour}"
        elif number == 4 and more[:1] == [0]:
            attributes -= {4, 21}
        elif number in _ON:
            attributes.add(number)
        elif number in _OFF:
            attributes.difference_update(_OFF[number])
        elif 30 <= number <= 37 or 90 <= number <= 97:
            foreground = str(number)
        elif 40 <= number <= 47 or 100 <= number <= 107:
            background = str(number)
        elif number == 39:
            foreground = ""
        elif number == 49:
            background = ""
    return Style(tuple(sorted(attributes)), foreground, background)


def _taken(codes: object) -> list[str]:
    """The arguments of a colour that is written with semicolons."""
    rest = iter(codes)  # type: ignore[call-overload]  # an iterator that the caller goes on with
    kind = next(rest, "")
    return [kind, *(next(rest, "") for _ in range(_ARGUMENTS.get(parsed(kind), 0)))]


def _colour(values: list[int]) -> str:
    """`5;N` or `2;R;G;B`; empty for what is neither. With colons a colour space may come first."""
    kind, *rest = values or [0]
    count = _ARGUMENTS.get(kind, 0)
    if not count or len(rest) < count:
        return ""
    chosen = rest[-count:] if len(rest) <= count + 1 else rest[1 : count + 1]
    return ";".join(map(str, [kind, *(min(each, 255) for each in chosen)]))


def numbers(text: str, separator: str = ";") -> list[int]:
    """Parameters; what is left out is 0."""
    return [parsed(each) for each in text.split(separator)] if text else []


def parsed(word: str) -> int:
    """One parameter, of a bounded length."""
    return min(int(word), MAX_NUMBER) if word.isdecimal() and word.isascii() else 0
