"""What a running `vconnect` does when another terminal asks (connect_vm/requests.py)."""

from __future__ import annotations

from collections.abc import Mapping

from connect_vm import requests
from connect_vm.local_ports import LocalPorts
from connect_vm.share_news import ShareNews
from tunnel.control_socket import Handler, on
from tunnel.requests import Request


class Handlers:
    """The commands, each a method. They raise VshareError, which the other terminal shows."""

    def __init__(self, ports: LocalPorts, news: ShareNews) -> None:
        self._ports, self._news = ports, news

    def table(self) -> Mapping[type[Request], Handler]:
        """For the control socket."""
        return dict(
            [
                on(requests.Servers, self.servers),
                on(requests.Map, self.map),
                on(requests.Unmap, self.unmap),
                on(requests.People, self.people),
                on(requests.Terminals, self.terminals),
            ]
        )

    async def servers(self, request: requests.Servers) -> requests.ServerList:
        """See requests.Servers."""
        return requests.ServerList(self._ports.rows)

    async def map(self, request: requests.Map) -> requests.Mapped:
        """See requests.Map."""
        return requests.Mapped(self._ports.map(request.what, request.local))

    async def unmap(self, request: requests.Unmap) -> requests.Unmapped:
        """See requests.Unmap."""
        return requests.Unmapped(self._ports.unmap(request.what))

    async def people(self, request: requests.People) -> requests.PeopleList:
        """See requests.People."""
        return self._news.people

    async def terminals(self, request: requests.Terminals) -> requests.TerminalList:
        """See requests.Terminals."""
        return requests.TerminalList(self._news.terminals)
