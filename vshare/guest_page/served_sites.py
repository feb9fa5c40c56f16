"""Sites for what is shared by name (`vshare serve`) and is no site of the public URL yet: open to
visitors of the guest page alone, who bring a ticket, or know the page's passcode.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import replace

from tunnel.errors import VshareError
from tunnel.follow import Server
from vshare.http_probe import COMMON_HTTPS_PORTS, Candidate, Origin, probe
from vshare.machine import LOOPBACK
from vshare.reach import Reach
from vshare.streams import Streams
from vshare.web.find_sites import shorten
from vshare.web.passcode import Passcode
from vshare.web.rules import Rule
from vshare.web.sites import MAX_SITES, Site, Sites

LOOK_EVERY = 10.0  # seconds between looks at a port where nothing listens yet
ROOM = 24  # characters of a label: beside a name of the longest there is

Publish = Callable[[list[str]], Awaitable[None]]


class ServedSites:
    """`passcode` is asked for at each of these sites, behind the rules `before`; `changed` is
    called when there are others."""

    def __init__(
        self,
        streams: Streams,
        before: Sequence[Rule],
        passcode: Passcode,
        changed: Callable[[], None],
    ) -> None:
        self._streams, self._passcode, self._changed = streams, passcode, changed
        self._rules: Sequence[Rule] = (*before, passcode)
        self._made: dict[Server, str] = {}  # the label of each site that was made here
        self._silent: set[Server] = set()  # what answered, and not in HTTP

    def asks(self, site: Site) -> bool:
        """Whether it is one of these, so that a ticket is needed."""
        return site.label in self._made.values()

    def change_passcode(self, passcode: str) -> None:
        """They ask for this one from now on."""
        self._passcode.change(passcode)

    async def run(self, reach: Reach, publish: Publish) -> None:
        """Keep up with what is shared, until cancelled; `publish` tells the relay all labels."""
        news = asyncio.Event()
        end = self._streams.board.subscribe(news.set)
        try:
            while True:
                news.clear()
                waits = await self._look(reach, publish)
                try:
                    async with asyncio.timeout(LOOK_EVERY if waits else None):
                        await news.wait()
                except TimeoutError:
                    pass
        finally:
            end()

    async def _look(self, reach: Reach, publish: Publish) -> bool:
        """Make sites, and take back those of what is shared no more; whether something may become
        one yet."""
        servers = list(self._servers())
        gone = self._made.keys() - servers
        self._silent.intersection_update(servers)
        for server in gone:
            self._remove(server)
        ports = self._streams.visits.sites.ports
        new = [each for each in servers if each.port not in ports and each not in self._silent]
        found = [server for server in new if await self._add(server, reach)]
        if gone or found:
            await publish(self._streams.visits.sites.labels)
            self._changed()
        return any(each not in self._made and each not in self._silent for each in new)

    def _servers(self) -> Iterator[Server]:
        for item in self._streams.board.items("servers"):
            if isinstance(item, Server):
                yield item

    async def _add(self, server: Server, reach: Reach) -> bool:
        """Whether it speaks HTTP, and is a site now."""
        policy = self._streams.policy
        host = LOOPBACK if server.port in policy.loopback_ports else ""
        candidate = Candidate(
            server.port, server.port in COMMON_HTTPS_PORTS, Origin.LISTENING, host
        )
        try:
            [attempt] = (await probe(reach, [candidate])).attempts
        except VshareError:
            return False
        if server not in self._servers():  # shared no more, by now
            return False
        if attempt.status is None:
            if "HTTP" in attempt.outcome:  # it has said something else
                self._silent.add(server)
            return False
        visits = self._streams.visits
        label = label_of(server, visits.sites)
        if label is None or len(visits.sites.labels) >= MAX_SITES:
            self._silent.add(server)
            return False
        site = Site(label, server.port, attempt.candidate.tls, loopback=bool(host))
        self._streams.policy = replace(policy, http_ports=policy.http_ports | {server.port})
        visits.add(site, self._rules)
        self._made[server] = label
        return True

    def _remove(self, server: Server) -> None:
        policy = self._streams.policy
        self._streams.policy = replace(policy, http_ports=policy.http_ports - {server.port})
        removed = self._made.pop(server)
        self._streams.visits.remove(removed)
        self._streams.visits.cut(lambda label, head: label == removed)


def label_of(server: Server, sites: Sites) -> str | None:
    """A DNS label for it that no other site has; None: there is none."""
    kept = "".join(each if each.isalnum() else "-" for each in server.name.lower()).strip("-")
    for label in (shorten(kept, ROOM), str(server.port)):
        if label and label not in sites.labels:
            return label
    return None
