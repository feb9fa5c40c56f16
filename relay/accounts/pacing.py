"""Divides a bandwidth among the connections that use it, look by look. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from relay.accounts.elsewhere import NOTHING, Numbers, part_of

# Of what it might have had: a connection that used so much of it wants more.
HUNGRY = 0.7
# Who got more than is due (connections that were idle may all begin between two looks) pays it
# back within this time, and keeps this part of what is due meanwhile.
PAY_BACK_WITHIN = 2.0  # seconds
LEAST_PART = 0.1
# However many are quiet, together they may begin with so many times the bandwidth, until the next
# look: one that begins alone has most of it at once.
MOST_AT_ONCE = 4
# What passes comes in lumps (a pipe's MiB), with looks between that see nothing: other relays hear
# of what there was within this time.
LUMPS = 3.0  # seconds
LEAST_RATE = 4_096  # bytes a second, for each: a page still comes, slowly


@dataclass(slots=True)
class Used:
    """What a connection used since the last look, in bytes, and what it might have, in bytes a
    second (0: anything)."""

    moved: int
    rate: float


class Budget:
    """Of one who has a bandwidth. `wanting` are those that lately wanted more, `modest` is what the
    others use, in bytes a second."""

    def __init__(self) -> None:
        self._owed = 0.0  # bytes more than were due
        self.wanting, self.modest = 0, 0.0
        self._wanted_for = 0.0  # seconds since so many did

    def divide(
        self, bandwidth: int, seconds: float, used: Sequence[Used], there: Numbers = NOTHING
    ) -> list[float]:
        """The rates of all from now on, in bytes a second, after `seconds` of `used`; `there` is
        what other relays give of the same bandwidth.

        Those that want more get the same each; what is not used is theirs. One that has been
        quiet may begin with what it would get beside them.
        """
        hungry = [
            not each.rate or each.moved >= HUNGRY * each.rate * seconds if each.moved else False
            for each in used
        ]
        modest = sum(
            each.moved / seconds for each, more in zip(used, hungry, strict=True) if not more
        )
        many = sum(hungry)
        self._remember(many, modest, seconds)
        due = part_of(bandwidth, self.wanting, self.modest, there)
        moved = sum(each.moved for each in used)
        self._owed = max(0.0, self._owed + moved - due * seconds)
        total = max(due * LEAST_PART, due - self._owed / PAY_BACK_WITHIN)
        left = max(total - modest, total / (many + 1))
        first = left / (many + 1 + (len(used) - many) / MOST_AT_ONCE)
        return [max(LEAST_RATE, left / many if more else first) for more in hungry]

    def _remember(self, wanting: int, modest: float, seconds: float) -> None:
        """For other relays, which would else follow each lump."""
        self._wanted_for += seconds
        if wanting >= self.wanting or self._wanted_for >= LUMPS:
            self.wanting, self._wanted_for = wanting, 0.0
        self.modest += (modest - self.modest) * min(1.0, seconds / LUMPS)
