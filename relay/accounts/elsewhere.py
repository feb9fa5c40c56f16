"""What a holder has at other relays that are one with this one, and what that leaves here. Pure."""

from __future__ import annotations

from typing import Final, Protocol

import msgspec

FLOOR = 0.1  # of a bandwidth: so that who is new at a relay gets going


class Numbers(msgspec.Struct, frozen=True):  # of which ten thousand are made in one go
    """Of one holder, those alone that it has limits for.

    `moved`: bytes, today. Now: its guests, all its visitors (`streams`), how many of them want more
    bandwidth than they have, and what the others use of it (bytes a second).
    """

    moved: int = 0
    guests: int = 0
    streams: int = 0
    wanting: int = 0
    rate: int = 0

    def plus(self, other: Numbers) -> Numbers:
        """Of both."""
        return Numbers(
            self.moved + other.moved,
            self.guests + other.guests,
            self.streams + other.streams,
            self.wanting + other.wanting,
            self.rate + other.rate,
        )


NOTHING: Final = Numbers()


class Elsewhere(Protocol):
    """The other relays. Asked for each visitor: what it says it has in memory."""

    def numbers(self, holder: str) -> Numbers:
        """What that holder has there."""

    def shares(self, holder: str, name: str, key_hash: bytes, room: int) -> int:
        """How many shares, but for the one that is to have that name, or has that key; any number
        below `room` where there are certainly fewer than that."""


class Nowhere:
    """There are none."""

    def numbers(self, holder: str) -> Numbers:
        """See Elsewhere."""
        return NOTHING

    def shares(self, holder: str, name: str, key_hash: bytes, room: int) -> int:
        """See Elsewhere."""
        return 0


def part_of(bandwidth: int, wanting: int, rate: float, there: Numbers) -> float:
    """What this relay has of a bandwidth, in bytes a second, with so many connections that want
    more, and others that use `rate`.

    Who wants more gets the same at every relay; what is not used there is theirs. One that is about
    to begin counts as one that wants more.
    """
    left = max(bandwidth - there.rate - rate, bandwidth * FLOOR)
    here = max(1, wanting)
    return min(float(bandwidth), rate + left * here / (here + there.wanting))
