"""What belongs to whom: each thing that a page names is looked up here, through its owner."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from relay.accounting import How, Visit
from relay.accounts.permits import Permits
from relay.registry import LocalRegistry, Share
from relay.website.door import Viewer
from tunnel.control import Ended
from tunnel.errors import UsageError
from tunnel.names import parse_name


@dataclass(frozen=True, slots=True)
class Owned:
    """A connected share and how many connections visitors have to it."""

    share: Share
    visits: int


class Holdings:
    """The shares that are connected to this relay, as who is signed in may see them."""

    def __init__(self, registry: LocalRegistry, permits: Permits) -> None:
        self._registry, self._permits = registry, permits

    def shares(self, viewer: Viewer) -> list[Owned]:
        """His (an administrator's: everybody's), by their names."""
        if viewer.is_admin:
            found = self._registry.shares()
        else:
            tokens = self._permits.tokens_of(viewer.account)
            found = [share for token in tokens for share in self._registry.shares_of(token)]
        counts = self._visits_by_share()
        now = time.time()
        alive = (share for share in found if not share.is_over and share.ends_at > now)
        return [Owned(each, counts[each]) for each in sorted(alive, key=lambda each: each.name)]

    def share(self, viewer: Viewer, name: str) -> Share | None:
        """The one of that name, if it is his."""
        try:
            share = self._registry.get(parse_name(name))
        except UsageError:
            return None
        return share if share is not None and self.owns(viewer, share) else None

    def owns(self, viewer: Viewer, share: Share) -> bool:
        """Whether it was shared with a token of his."""
        if viewer.is_admin:
            return True
        permit = self._permits.get(share.token, time.time())
        return permit is not None and permit.account == viewer.account

    def visits(self, share: Share) -> list[Visit]:
        """Connections to it now, the newest first."""
        found = [each for each in self._registry.accounting.visits if each.share is share]
        return sorted(found, key=lambda each: each.began, reverse=True)

    def end(self, viewer: Viewer, share: Share) -> None:
        """Its time is over now: it is told so, and its name is held for its owner as ever."""
        permit = self._permits.get(share.token, time.time())
        is_own = permit is not None and permit.account == viewer.account
        self._registry.extend(share, time.time())
        share.send(Ended("expired", "it was ended on the relay's page"))
        share.finish(How.ENDED if is_own else How.KICKED)

    def _visits_by_share(self) -> Mapping[object, int]:
        return Counter(each.share for each in self._registry.accounting.visits)
