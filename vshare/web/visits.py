"""Visitors of the public URL: each stream is for a site, and passes a stage on its way there."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol
from weakref import WeakSet

from tunnel.codes import Code
from tunnel.ends import End
from tunnel.errors import VshareError
from tunnel.http_heads import RequestHead
from vshare.policy import Target
from vshare.reach import Reach
from vshare.web.outage import Outages
from vshare.web.rules import Gallery, Rule, Watcher
from vshare.web.sites import Site, Sites
from vshare.web.stage import Stage
from vshare.web.tls_end import TlsEnd
from vshare.web.waiting import Waiting


class NobodyLooks:
    """A Gallery without anybody in it."""

    is_empty = True

    def watch(self, site: str, head: RequestHead) -> Watcher | None:
        """See Gallery.watch."""
        return None


_NOBODY: Gallery = NobodyLooks()


class OwnSite(Protocol):
    """A site of the share's own: its machine has no part in it."""

    site: Site
    rules: Sequence[Rule]

    def open(self, head: RequestHead) -> End:
        """What answers a request that the rules let through. Raises RefusedError."""


class Visits:
    """The sites, and what is done to their requests. `rules_of` gives a site's rules, and may be
    another one while they are visited."""

    def __init__(
        self,
        sites: Sites,
        rules_of: Callable[[Site], Sequence[Rule]] = lambda _: (),
        gallery: Gallery | None = None,
    ) -> None:
        self._own: dict[str, OwnSite] = {}  # by label, as are the next ones
        self._added: dict[str, Sequence[Rule]] = {}
        self.sites = sites
        self.requests = 0  # since the share began
        self.rules_of = rules_of
        self._gallery = gallery or _NOBODY
        self._outages = Outages(time.monotonic)
        self._stages: WeakSet[Stage] = WeakSet()

    def add_own(self, own: OwnSite) -> None:
        """One more site, before the sites are published."""
        self._own[own.site.label] = own
        self.sites = replace(
            self.sites, others={**(self.sites.others or {}), own.site.label: own.site}
        )

    def add(self, site: Site, rules: Sequence[Rule]) -> None:
        """One more site of the machine's, with these rules. The caller publishes it."""
        self._added[site.label] = rules
        self.sites = replace(self.sites, others={**(self.sites.others or {}), site.label: site})

    def remove(self, label: str) -> None:
        """A site that was added is none any more."""
        del self._added[label]
        others = {key: site for key, site in (self.sites.others or {}).items() if key != label}
        self.sites = replace(self.sites, others=others)

    def stage(self, site: Site, visitor: End, gallery: Gallery | None = None) -> Stage:
        """What stands for `visitor` towards what `open` gives. `gallery`: in place of the
        visits' own. Nobody looks on at a site of the share's own."""
        if site.is_own:
            rules, lookers = self._own[site.label].rules, _NOBODY
        else:
            rules = self._added[site.label] if site.label in self._added else self.rules_of(site)
            lookers = gallery or self._gallery
        stage = Stage(visitor, site.label, rules, lookers, self._count)
        self._stages.add(stage)
        return stage

    def cut(self, whose: Callable[[str, RequestHead], bool]) -> None:
        """End the streams that `whose` says yes to, given a site's label and the last request, as
        the visitor sent it. Sites without rules need not know their requests' fields."""
        for stage in list(self._stages):
            request = stage.request
            if request is not None and not stage.is_done and whose(stage.site, request):
                stage.cut()

    async def open(
        self, site: Site, target: Target, reach: Reach, stage: Stage
    ) -> tuple[End, VshareError | None]:
        """A way to the site's web server, when a request was let in; else an end that is as good
        as done. The error: why there is no way, which the visitor has been told then."""
        waiting = Waiting()
        waiting.peer = stage
        stage.link(waiting)
        if not await waiting.has_request():
            return waiting, None
        try:
            machine = await self._open(site, target, reach, stage)
        except VshareError as error:
            if stage.request is not None and not waiting.is_done:
                stage.reply(self._outages.began(site, error).reply(stage.request))
            return waiting, error
        self._outages.ended(site)
        if waiting.is_done:  # the visitor has gone meanwhile
            machine.reset(Code.CLOSED)
            return waiting, None
        waiting.hand_over(machine)
        return machine, None

    async def _open(self, site: Site, target: Target, reach: Reach, stage: Stage) -> End:
        if site.is_own:
            assert stage.request is not None  # which is why a way is opened
            return self._own[site.label].open(stage.request)
        machine = await reach.open_tcp(target.host, target.port)
        if not site.tls:
            return machine
        tls = TlsEnd(machine, site.server_name or "localhost")
        await tls.handshake()
        return tls

    def _count(self) -> None:
        self.requests += 1
