"""How much a token, a user, or where there are none a source, may have at a relay. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import Final

from tunnel.errors import UsageError

NO_LIMIT: Final = 0  # said of what is not to have the relay's default
_UNITS = {"": 1, "k": 1_000, "m": 1_000**2, "g": 1_000**3, "t": 1_000**4}
_SIZE = re.compile(r"([0-9]{1,15})(?:\.([0-9]))?([kmgt]?)b?", re.IGNORECASE)
_MAX_SIZE = 10**18  # bytes; SQLite's integers end at nine times that


@dataclass(frozen=True, slots=True)
class Limits:
    """None: as the relay has it for all; NO_LIMIT: none at all.

    `shares`, `guests` (their connections) and `streams` (connections of visitors of all kinds,
    guests among them) are at once; `bytes_per_day` are of days of UTC, both ways together;
    `bandwidth` is bytes a second, both ways together.
    """

    shares: int | None = None
    guests: int | None = None
    streams: int | None = None
    bytes_per_day: int | None = None
    bandwidth: int | None = None

    def or_else(self, defaults: Limits) -> Limits:
        """These, and where nothing is said the `defaults`."""
        mine, theirs = self.values(), defaults.values()
        return Limits(
            *(other if value is None else value for value, other in zip(mine, theirs, strict=True))
        )

    def values(self) -> tuple[int | None, ...]:
        """In the order of FIELDS."""
        return self.shares, self.guests, self.streams, self.bytes_per_day, self.bandwidth


FIELDS: Final = tuple(field.name for field in fields(Limits))
UNLIMITED: Final = Limits()


def is_reached(limit: int | None, count: int) -> bool:
    """Whether there is such a limit, and `count` is no less."""
    return bool(limit) and count >= (limit or 0)


def parse_size(text: str) -> int:
    """Bytes, as in `500`, `10M`, `1.5G`: units of a thousand. Raises UsageError."""
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise UsageError(f"not a number of bytes: {text[:20]!r}", "write one like 500M or 10G")
    whole, tenths, unit = found.groups()
    size = (int(whole) * 10 + int(tenths or 0)) * _UNITS[unit.lower()] // 10
    if not 0 < size <= _MAX_SIZE:
        raise UsageError(f"that many bytes are no limit: {text[:20]!r}", "`none` takes it away")
    return size


def size_text(size: int) -> str:
    """`size` bytes, for people."""
    for unit in ("T", "G", "M", "k"):
        factor = _UNITS[unit.lower()]
        if size >= factor:
            return f"{size / factor:.1f}".removesuffix(".0") + f" {unit}B"
    return f"{size} B"
