"""What belongs to whom: each thing that a page names is looked up here, through its owner."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
from operator import attrgetter
from typing import Protocol

from relay.accounting import Visit
from relay.accounts.permits import Permits
from relay.ends import Owned, end_share
from relay.registry import LocalRegistry, Share
from relay.website.door import Viewer
from relay.website.paging import Part, page_of
from tunnel.errors import UsageError
from tunnel.names import ShareName, parse_name


class Elsewhere(Protocol):
    """The shares of the cluster's other relays (relay/cluster/ends.py)."""

    def shares(self) -> Iterable[Owned]:
        """All that are connected there."""

    def find(self, name: ShareName) -> Owned | None:
        """The one of that name."""

    def end(self, name: ShareName, *, by_operator: bool) -> None:
        """Have it ended, as soon as its relay hears of it."""


_name = attrgetter("name")


class Holdings:
    """Shares, as who is signed in may see them. `end_lease` as Control has it; `elsewhere`: of
    relays that work together."""

    def __init__(
        self,
        registry: LocalRegistry,
        permits: Permits,
        end_lease: Callable[[Share], None],
        elsewhere: Elsewhere | None,
    ) -> None:
        self._registry, self._permits = registry, permits
        self._end_lease, self._elsewhere = end_lease, elsewhere

    def shares(self, viewer: Viewer, wanted: str, size: int) -> Part[Owned]:
        """His (an administrator's: everybody's), by their names: the page `wanted` (see page_of).
        There may be ten thousand, in a loop that has more to do: little is done with each."""
        shares: list[Share | Owned]
        if viewer.is_admin:
            shares = [*self._registry.shares()]
        else:
            tokens = self._permits.tokens_of(viewer.account)
            shares = [share for token in tokens for share in self._registry.shares_of(token)]
        if self._elsewhere is not None:
            others = self._elsewhere.shares()
            shares += [each for each in others if self._owns(viewer, each.token)]
        now = time.time()
        alive = [each for each in shares if each.ends_at > now]
        alive.sort(key=_name)
        part = page_of(alive, wanted, size)
        counts: Counter[object] = Counter(each.share for each in self._registry.accounting.visits)
        things = [
            each
            if isinstance(each, Owned)
            else Owned(each.name, each.token, each.ends_at, counts[each])
            for each in part.things
        ]
        return Part(things, part.number, part.pages, part.total)

    def share(self, viewer: Viewer, name: str) -> Share | None:
        """The one of that name, if it is his and here."""
        try:
            share = self._registry.get(parse_name(name))
        except UsageError:
            return None
        return share if share is not None and self._owns(viewer, share.token) else None

    def elsewhere(self, viewer: Viewer, name: str) -> Owned | None:
        """The one of that name, if it is his and at another relay of the cluster."""
        try:
            found = self._elsewhere.find(parse_name(name)) if self._elsewhere is not None else None
        except UsageError:
            return None
        return found if found is not None and self._owns(viewer, found.token) else None

    def _owns(self, viewer: Viewer, token: str) -> bool:
        """Whether what was shared with that token is his."""
        return viewer.is_admin or self._is_own(viewer, token)

    def _is_own(self, viewer: Viewer, token: str) -> bool:
        permit = self._permits.get(token, time.time())
        return permit is not None and permit.account == viewer.account

    def visits(self, share: Share) -> list[Visit]:
        """Connections to it now, the newest first."""
        found = [each for each in self._registry.accounting.visits if each.share is share]
        return sorted(found, key=lambda each: each.began, reverse=True)

    def end(self, viewer: Viewer, share: Share | Owned) -> None:
        """Its time is over now: it is told so, and its name is held for its owner as ever."""
        by_operator = not self._is_own(viewer, share.token)
        if isinstance(share, Share):
            end_share(share, self._end_lease, by_operator=by_operator)
        elif self._elsewhere is not None:
            self._elsewhere.end(share.name, by_operator=by_operator)
