"""How many names a source, or an account, may have anew: names are leased for days. Pure."""

from __future__ import annotations

from relay.source_buckets import SourceBuckets
from tunnel.source import site_of

BURST = 100  # names at once: a class behind one NAT, each with several machines
REFILL_SECONDS = 60.0  # for one more: some 1,500 in a day
CHOSEN_REFILL_SECONDS = 1_800.0  # for one more that was chosen: 48 in a day; others want those


class NewNames:
    """Buckets of names that were not the asking key's before. What is refused also spends: whether
    a name is somebody's cannot be tried without end."""

    def __init__(self) -> None:
        self._sources = SourceBuckets(BURST, REFILL_SECONDS)
        self._sites = SourceBuckets(BURST, REFILL_SECONDS)
        self._accounts = SourceBuckets(BURST, REFILL_SECONDS)
        self._chosen = SourceBuckets(BURST, CHOSEN_REFILL_SECONDS)  # by account, or by site

    def take(self, source: str, account: int, now: float, *, chosen: bool = False) -> bool:
        """One more for `account`, or where there are none (0) for `source` (as from `source_of`),
        drawn by the relay or `chosen`; False: not now."""
        site = site_of(source)
        if chosen and not self._chosen.take(f"account {account}" if account else site, now):
            return False
        if account:
            return self._accounts.take(str(account), now)
        return self._sources.take(source, now) and (site == source or self._sites.take(site, now))
