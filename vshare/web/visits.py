"""Visitors of the public URL: each stream is for a site, and passes a stage on its way there."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tunnel.ends import End, Sink
from tunnel.errors import RefusedError
from tunnel.http_heads import RequestHead
from vshare.policy import Target
from vshare.reach import Reach
from vshare.web.outage import Outages
from vshare.web.rules import Gallery, Rule, Watcher
from vshare.web.sites import Site, Sites
from vshare.web.stage import Stage
from vshare.web.tls_end import TlsEnd


class NobodyLooks:
    """A Gallery without anybody in it."""

    is_empty = True

    def watch(self, site: str, head: RequestHead) -> Watcher | None:
        """See Gallery.watch."""
        return None


@dataclass(frozen=True, slots=True)
class Way:
    """To a site's server, and what is done to the requests. `error`: why there is none; then one
    of the rules says so to whom the others let in."""

    machine: End
    rules: Sequence[Rule]
    error: RefusedError | None = None


class Visits:
    """The sites, and what is done to their requests. `rules_of` gives a site's rules."""

    def __init__(
        self,
        sites: Sites,
        rules_of: Callable[[Site], Sequence[Rule]] = lambda _: (),
        gallery: Gallery | None = None,
    ) -> None:
        self.sites = sites
        self.requests = 0  # since the share began
        self._rules_of = rules_of
        self._gallery = gallery or NobodyLooks()
        self._outages = Outages(time.monotonic)

    async def open(self, site: Site, target: Target, reach: Reach) -> Way:
        """A way to the site's web server."""
        rules = self._rules_of(site)
        try:
            machine = await self._open(site, target, reach)
        except RefusedError as error:
            return Way(Sink(), [*rules, self._outages.began(site, error)], error)
        self._outages.ended(site)
        return Way(machine, rules)

    async def _open(self, site: Site, target: Target, reach: Reach) -> End:
        machine = await reach.open_tcp(target.host, target.port)
        if not site.tls:
            return machine
        tls = TlsEnd(machine, site.server_name or "localhost")
        await tls.handshake()
        return tls

    def stage(self, site: Site, way: Way, visitor: End) -> Stage:
        """What stands for `visitor` towards the way that was opened."""
        return Stage(visitor, site.label, way.rules, self._gallery, self._count)

    def _count(self) -> None:
        self.requests += 1
