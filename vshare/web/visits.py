"""Visitors of the public URL: each stream is for a site, and passes a stage on its way there."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from tunnel.codes import Code
from tunnel.ends import End
from tunnel.errors import RefusedError, VshareError
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


class Visits:
    """The sites, and what is done to their requests. `rules_of` gives a site's rules; `open_own`
    what answers a request at a site of the share's own that they let through."""

    def __init__(
        self,
        sites: Sites,
        rules_of: Callable[[Site], Sequence[Rule]] = lambda _: (),
        gallery: Gallery | None = None,
        open_own: Callable[[RequestHead], End] | None = None,
    ) -> None:
        self._open_own = open_own
        self.sites = sites
        self.requests = 0  # since the share began
        self._rules_of = rules_of
        self._gallery = gallery or NobodyLooks()
        self._outages = Outages(time.monotonic)

    def stage(self, site: Site, visitor: End, gallery: Gallery | None = None) -> Stage:
        """What stands for `visitor` towards what `open` gives. `gallery`: in place of the
        visits' own. Nobody looks on at a site of the share's own."""
        lookers = NobodyLooks() if site.is_own else gallery or self._gallery
        return Stage(visitor, site.label, self._rules_of(site), lookers, self._count)

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
            if self._open_own is None or stage.request is None:
                raise RefusedError(Code.NOT_ALLOWED, "no site of that name is shared")
            return self._open_own(stage.request)
        machine = await reach.open_tcp(target.host, target.port)
        if not site.tls:
            return machine
        tls = TlsEnd(machine, site.server_name or "localhost")
        await tls.handshake()
        return tls

    def _count(self) -> None:
        self.requests += 1
