"""How text looks to people, where it says who somebody is or what he wants to run. Pure.

Unicode has letters that nobody sees, and letters that look like others (UTS #39 has them all; here
are those of the alphabets that are next to Latin).
"""

# ruff: noqa: RUF001  (letters that look alike)
from __future__ import annotations

import functools
import unicodedata

# Letters to Unicode, blanks to the eye: Hangul fillers, and a Braille cell without a dot.
_BLANK = frozenset("\u115f\u1160\u3164\uffa0\u2800")
_ON_OTHERS = frozenset(("Mn", "Me", "Cf"))  # categories of what has no column of its own
_JAMO = range(0x1160, 0x1200)  # vowels and finals: drawn onto the letter before, if any
# Small letters that are taken for others at a glance; `i` is what a large I is made to be.
_LIKE = str.maketrans(
    "авекмнорстухѕіјԁһӏԛԝαεηικνορτυχωγոսօհց01i",
    "abekmhopctyxsljdhlqwaenlkvoptuxwynuohgoll",
)


@functools.lru_cache(4096)
def is_seen(char: str) -> bool:
    """Whether a terminal shows it, in a column of its own."""
    if char in _BLANK or ord(char) in _JAMO or not char.isprintable():
        return False
    return unicodedata.category(char) not in _ON_OTHERS


@functools.lru_cache(4096)
def skeleton(name: str) -> str:
    """The same for names that people take for one another."""
    folded = unicodedata.normalize("NFKC", name).casefold().translate(_LIKE)
    return "".join(filter(is_seen, folded.replace("rn", "m").replace(" ", "")))
