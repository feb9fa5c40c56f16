"""The board: the present state of what a share tells its guests of itself, by kind.

Whoever owns a thing sets its state; followers are woken, and take what changed when they can. So
latest wins: a slow guest is told less often, and nothing is queued for it. The wire is
docs/protocol.md 8.8; vshare/together/followers.py puts it there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from tunnel.follow import serialize
from vshare.guests import Guest

Shown: TypeAlias = Callable[[object, Guest], bool]


def to_everybody(item: object, guest: Guest) -> bool:
    """Every guest is told of every item."""
    return True


@dataclass(frozen=True, slots=True)
class _Card:
    version: int
    items: tuple[object, ...]
    shown: Shown


class Board:
    """What is on it is for guests to see: nothing secret."""

    def __init__(self) -> None:
        self._version = 0
        self._cards: dict[str, _Card] = {}
        self._listeners: list[Callable[[], None]] = []

    @property
    def version(self) -> int:
        """Rises with each change."""
        return self._version

    def set(self, kind: str, items: Sequence[object], shown: Shown = to_everybody) -> None:
        """All there is of `kind` now: msgspec structs, or what JSON knows. `shown` says, when a
        guest is told, whether it is told of an item. What is as it was is told nobody again."""
        before = self._cards.get(kind)
        if before is not None and (before.items, before.shown) == (tuple(items), shown):
            return
        self._version += 1
        self._cards[kind] = _Card(self._version, tuple(items), shown)
        for listener in list(self._listeners):
            listener()

    def items(self, kind: str) -> tuple[object, ...]:
        """What was set last."""
        card = self._cards.get(kind)
        return card.items if card is not None else ()

    def line_since(self, version: int, guest: Guest) -> tuple[int, bytes] | None:
        """The state that changed first after `version`, as its line for `guest`, and what to ask
        with next; None if none did."""
        later = [each for each in self._cards.items() if each[1].version > version]
        if not later:
            return None
        kind, card = min(later, key=lambda each: each[1].version)
        items = [item for item in card.items if card.shown(item, guest)]
        return card.version, serialize(kind, items)

    def subscribe(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call `listener` at each change from now on; call what is returned to end that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)
