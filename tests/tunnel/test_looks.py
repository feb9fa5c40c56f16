"""What people see of letters."""

# ruff: noqa: RUF001  (letters that look alike)
from __future__ import annotations

import pytest

from tunnel.looks import is_seen, skeleton


@pytest.mark.parametrize("char", ["a", " ", "é", "漢", "ß", "\u0903", "~"])
def test_letters_that_are_seen(char: str) -> None:
    assert is_seen(char)


@pytest.mark.parametrize(
    "char",
    "\x1b\n\u00a0\u200b\u202e\u2066\ufe0f\U000e0101\u0301\u3164\u115f\uffa0\u1161\u2800\u2028\ue000\u034f",
)
def test_letters_that_are_not(char: str) -> None:
    assert not is_seen(char)


def test_what_is_taken_for_another() -> None:
    assert skeleton("Bill 10") == skeleton("blll-10".replace("-", "\u2063")) == skeleton("ВІLL1O")
    assert skeleton("modern") == skeleton("modem")
    assert skeleton("bob") != skeleton("rob")
    assert skeleton("Ada") != skeleton("Eda")
