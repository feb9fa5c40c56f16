"""`vshare domain`: own domains that come to a share which runs, and leave it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import asdict

from tunnel.control_socket import Handler, on
from tunnel.errors import UsageError, VshareError
from tunnel.own_domains import OwnDomain, parse_own_domain
from tunnel.requests import Request
from vshare import own_domain_requests as requests
from vshare.live_share import LiveShare
from vshare.own_domains import NOT_OFFERED, DomainRow


class DomainHandlers:
    """The commands, each a method. They raise VshareError, which the other terminal shows. `turn`
    is held while the share is given another name: what its link asks for must not change then."""

    def __init__(self, share: LiveShare, turn: asyncio.Lock) -> None:
        self._share, self._turn = share, turn

    def table(self) -> Mapping[type[Request], Handler]:
        """For the control socket."""
        return dict(
            [
                on(requests.AddDomain, self.add),
                on(requests.RemoveDomain, self.remove),
                on(requests.Domains, self.domains),
            ]
        )

    async def add(self, request: requests.AddDomain) -> requests.OneDomain:
        """See requests.AddDomain."""
        host = parse_own_domain(request.host)
        async with self._turn:
            self._check()
            own = self._share.link.own_domains
            own.add(host)
            await self._changed()
            return requests.OneDomain(_row(own.row(host)))

    async def remove(self, request: requests.RemoveDomain) -> requests.OneDomain:
        """See requests.RemoveDomain."""
        host = parse_own_domain(request.host)
        async with self._turn:
            own = self._share.link.own_domains
            before = own.remove(host)
            await self._changed()
        text = f"{host} leads here no more"
        self._share.newsroom.tell("own-domain-removed", text, domain=host)
        return requests.OneDomain(_row(before))

    async def domains(self, request: requests.Domains) -> requests.DomainList:
        """See requests.Domains."""
        return requests.DomainList([_row(each) for each in self._share.link.own_domains.rows])

    def _check(self) -> None:
        """Raise VshareError where no domain can be added."""
        registered = self._share.link.registered
        if not registered.url:
            raise UsageError("the share has no public URL", "start it without --disable-http")
        if not self._share.registration.keeps_name:
            raise UsageError(
                "the share's name was drawn: a domain's DNS record is made for a name's key",
                "give it one that is yours from then on: vshare rename NAME",
            )
        if not registered.own_domains:
            raise VshareError(NOT_OFFERED, "use another relay")

    async def _changed(self) -> None:
        share = self._share
        hosts: tuple[OwnDomain, ...] = share.link.own_domains.hosts
        if share.server.tls_door is not None:
            for text in share.server.tls_door.set_own_domains(hosts):
                share.newsroom.tell("notice", text, warning=True)
        await share.link.ask_own_domains()


def _row(row: DomainRow) -> requests.OwnDomainRow:
    return requests.OwnDomainRow(**asdict(row))
