"""What a running share does when another terminal asks about working together."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tunnel.control_socket import Handler, on
from tunnel.identity import Role
from tunnel.requests import Request
from vshare.guests import Guests
from vshare.together import requests
from vshare.together.says import Says
from vshare.together.servers import Servers


class TogetherHandlers:
    """The commands, each a method. They raise VshareError, which the other terminal shows.

    `browsers()` is how many visitors the guest page has now."""

    def __init__(
        self, servers: Servers, says: Says, guests: Guests, browsers: Callable[[], int]
    ) -> None:
        self._servers, self._says, self._guests = servers, says, guests
        self._browsers = browsers

    def table(self) -> Mapping[type[Request], Handler]:
        """For the control socket."""
        return dict(
            [
                on(requests.Serve, self.serve),
                on(requests.Unserve, self.unserve),
                on(requests.Servers, self.servers),
                on(requests.SayToAll, self.say),
            ]
        )

    async def serve(self, request: requests.Serve) -> requests.Served:
        """See requests.Serve."""
        return requests.Served(self._servers.serve(request.name, request.port))

    async def unserve(self, request: requests.Unserve) -> requests.Unserved:
        """See requests.Unserve."""
        server, cut = self._servers.unserve(request.name)
        return requests.Unserved(server, cut, self._servers.is_open(server.port))

    async def servers(self, request: requests.Servers) -> requests.ServerList:
        """See requests.Servers."""
        return requests.ServerList(self._servers.all)

    async def say(self, request: requests.SayToAll) -> requests.Said:
        """See requests.SayToAll."""
        self._says.say(request.text)
        there = [each for each in self._guests.of_role(Role.GUEST) if each.connections]
        return requests.Said(len(there) + self._browsers())
