"""Servers of the machine that are shared by name: guests see them, and have them on localhost."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tunnel.address import parse_port
from tunnel.errors import RefusedError, UsageError
from tunnel.follow import MAX_ITEMS, Server, is_label
from tunnel.identity import Role
from tunnel.terminal_messages import PROTOCOL as TERMINAL
from vshare.policy import MACHINE, Policy

if TYPE_CHECKING:  # half a second that commands need not wait
    from vshare.guests import Guest
    from vshare.look import Found
    from vshare.news import Newsroom
    from vshare.streams import Streams

MAX_SERVERS = MAX_ITEMS  # what guests are told of
MAX_USED = 16  # of what one guest uses, that are shown


def parse_server(text: str) -> Server:
    """`3000=web`, or `3000`, which is its own name. Raises UsageError."""
    port, _, name = text.partition("=")
    return Server(check_name(name or port.strip()), parse_port(port.strip()))


def check_name(name: str) -> str:
    """`name`, if a server may be called so. Raises UsageError."""
    if not is_label(name):
        raise UsageError(
            f"a server cannot be called {name!r}",
            "take up to 40 letters, digits and . _ - that begin with a letter or digit",
        )
    return name


def serve_port(policy: Policy, found: Found, port: int) -> Policy:
    """What guests may open when `port` is shared by name too. Raises UsageError where they could
    not open it all the same."""
    listeners = [each for each in found.listening.listeners if each.port == port]
    loopback = bool(listeners) and all(each.loopback_only for each in listeners)
    served = dataclasses.replace(
        policy,
        served_ports=policy.served_ports | {port},
        loopback_ports=policy.loopback_ports | ({port} if loopback else set()),
    )
    try:
        served.decide(Role.GUEST, "tcp", MACHINE, port)
    except RefusedError as error:
        raise UsageError(
            f"port {port} cannot be shared by name: {error.text}", "share another port"
        ) from error
    return served


class Servers:
    """What is shared by name now; guests are told by the board of `streams`."""

    def __init__(
        self, streams: Streams, found: Found, newsroom: Newsroom, loopback: frozenset[int]
    ) -> None:
        self._streams, self._found, self._newsroom = streams, found, newsroom
        self._servers: dict[str, Server] = {}
        self._loopback = loopback  # ports there that the sharer named otherwise
        self._schemes = dict(_schemes(found))
        self._tell_guests()

    @property
    def all(self) -> list[Server]:
        """In the order in which they were shared."""
        return list(self._servers.values())

    def serve(self, name: str, port: int) -> Server:
        """Share `port` as `name`. Raises UsageError."""
        for each in self._servers.values():
            if name == each.name or port == each.port:
                raise UsageError(
                    f"port {each.port} is shared as {each.name!r} already",
                    f"`vshare unserve {each.name}` takes it back",
                )
        if len(self._servers) >= MAX_SERVERS:
            raise UsageError(f"{MAX_SERVERS} servers are shared already", "take some back first")
        self._streams.policy = serve_port(self._streams.policy, self._found, port)
        server = self._servers[name] = Server(name, port, self._schemes.get(port, ""))
        self._tell_guests()
        self._newsroom.tell("served", f"port {port} is shared as {name!r}", name=name, port=port)
        return server

    def unserve(self, name: str) -> tuple[Server, int]:
        """Take it back; how many streams that cut. Raises UsageError."""
        server = self._servers.pop(name, None)
        if server is None:
            known = ", ".join(self._servers) or "none"
            raise UsageError(f"no server is shared as {name!r}", f"those that are: {known}")
        policy, port = self._streams.policy, {server.port}
        self._streams.policy = dataclasses.replace(
            policy,
            served_ports=policy.served_ports - port,
            loopback_ports=policy.loopback_ports - (port - self._loopback),
        )
        self._tell_guests()
        cut = self._streams.cut(server.port)
        text = f"{name!r} (port {server.port}) is shared by name no more"
        self._newsroom.tell("unserved", text, name=name, port=server.port, streams=cut)
        return server, cut

    def used_by(self, guest: Guest) -> list[str]:
        """What the guest has open: names of servers, else ports: `80`, `udp/53`, `host:80`, and
        `terminal NAME`."""
        names = {each.port: each.name for each in self._servers.values()}
        found = []
        for protocol, host, port in self._streams.in_use(guest)[:MAX_USED]:
            if protocol == TERMINAL:
                found.append(f"terminal {host}".strip())
                continue
            is_machine = self._streams.policy.is_machine(host)
            if protocol == "tcp" and is_machine and port in names:
                found.append(names[port])
                continue
            where = str(port) if is_machine else f"{host}:{port}"
            found.append(where if protocol == "tcp" else f"{protocol}/{where}")
        return found

    def is_open(self, port: int) -> bool:
        """Whether guests may open `port`, by whatever rule."""
        try:
            self._streams.policy.decide(Role.GUEST, "tcp", MACHINE, port)
        except RefusedError:
            return False
        return True

    def _tell_guests(self) -> None:
        self._streams.board.set("servers", self.all, self._is_for)

    def _is_for(self, item: object, guest: Guest) -> bool:
        """Guests with an invite for some ports are told of those."""
        assert isinstance(item, Server)
        policy = self._streams.policy
        return policy.is_open("tcp", item.port, loopback_only=False, rights=guest.rights)


def _schemes(found: Found) -> Iterator[tuple[int, str]]:
    for label in found.sites.labels:
        for site in found.sites.pair(label):
            if site is not None:
                yield site.port, site.scheme
