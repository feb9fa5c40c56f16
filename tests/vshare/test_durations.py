from __future__ import annotations

import pytest

from tunnel.errors import UsageError
from vshare.durations import describe_duration, parse_duration, parse_patience


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("10", 10), ("10s", 10), ("90m", 5_400), ("8h", 28_800), ("2d", 172_800), ("365d", 31_536e3)],
)
def test_what_people_type(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


def test_a_default_passes() -> None:
    assert parse_duration(28_800.0) == 28_800.0


@pytest.mark.parametrize(
    "text", ["", "9s", "366d", "soon", "1h30m", "-10m", "1.5h", "\u0661\u0660m"]
)
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(UsageError, match="not a time to expire in"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "0 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (3_599, "59 min"),
        (3_600, "1 h"),
        (28_799, "7 h 59 min"),
        (86_400, "1 d"),
        (180_000, "2 d 2 h"),
    ],
)
def test_what_people_read(seconds: float, text: str) -> None:
    assert describe_duration(seconds) == text


def test_patience() -> None:
    assert parse_patience("1s") == 1.0
    assert parse_patience(60.0) == 60.0
    for text in ("0", "soon"):
        with pytest.raises(UsageError, match="not a time to wait"):
            parse_patience(text)
