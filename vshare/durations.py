"""Times as people type and read them: `90m`, `8h`, `12 min`. Pure."""

from __future__ import annotations

import re

from tunnel.errors import UsageError

MIN_EXPIRES, MAX_EXPIRES = 10.0, 365 * 86_400.0  # seconds
_DURATION = re.compile(r"([0-9]{1,6})([smhd]?)")
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}


def parse_duration(value: str | float) -> float:
    """`90m`, `8h`, `30s`, `2d`, or seconds, as seconds. Raises UsageError."""
    if isinstance(value, float):
        return value
    seconds = _seconds(value)
    if not MIN_EXPIRES <= seconds <= MAX_EXPIRES:
        raise UsageError(f"not a time to expire in: {value!r}", "write 90m, 8h or 2d; at least 10s")
    return seconds


def parse_patience(value: str | float) -> float:
    """How long to wait for something, in seconds: as `parse_duration`, or shorter."""
    if isinstance(value, float):
        return value
    seconds = _seconds(value)
    if not 0 < seconds <= MAX_EXPIRES:
        raise UsageError(f"not a time to wait: {value!r}", "write 30s, 5m or 2h")
    return seconds


def _seconds(text: str) -> float:
    match = _DURATION.fullmatch(text)
    return float(int(match[1]) * _UNITS[match[2]]) if match else 0.0


def describe_duration(seconds: float) -> str:
    """`seconds` in the two largest units that say something: `2 d 3 h`, `7 h 59 min`, `40 s`."""
    left = max(0, int(seconds))
    days, hours, minutes = left // 86_400, left // 3600 % 24, left // 60 % 60
    if days:
        return f"{days} d {hours} h" if hours else f"{days} d"
    if hours:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{minutes} min" if minutes else f"{left} s"
