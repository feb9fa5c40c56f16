"""Working together, as one share does it: its parts, and what other terminals can ask of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from tunnel.control_socket import Handler
from tunnel.follow import Server
from tunnel.requests import Request
from vshare.guests import Guests
from vshare.look import Found
from vshare.news import Newsroom
from vshare.options import Options
from vshare.policy import Policy
from vshare.streams import Streams
from vshare.together.handlers import TogetherHandlers
from vshare.together.presence import Presence
from vshare.together.says import Says
from vshare.together.servers import Servers, serve_port


class Together:
    """Servers by name, messages to all, and who is there. `browsers()` is how many visitors the
    guest page has now."""

    def __init__(
        self,
        options: Options,
        found: Found,
        streams: Streams,
        newsroom: Newsroom,
        guests: Guests,
        *,
        browsers: Callable[[], int] = lambda: 0,
    ) -> None:
        self._wanted = options.servers
        self.servers = Servers(streams, found, newsroom, frozenset(options.loopback))
        self._handlers = TogetherHandlers(
            self.servers, Says(streams.board, newsroom), guests, browsers
        )
        if options.show_guests:
            newsroom.subscribe(Presence(streams.board, guests).news)

    def table(self) -> Mapping[type[Request], Handler]:
        """For the control socket."""
        return self._handlers.table()

    def begin(self) -> None:
        """The share runs: share by name what was asked for. Raises UsageError."""
        for server in self._wanted:
            self.servers.serve(server.name, server.port)


def serve_ports(policy: Policy, found: Found, servers: Iterable[Server]) -> Policy:
    """See `serve_port`."""
    for server in servers:
        policy = serve_port(policy, found, server.port)
    return policy
