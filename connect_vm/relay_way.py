"""The way to a share through its relay; where several relays are one, through that which has it.

The share tells where its relays are (docs/protocol.md 8.3), the one that it is at first. Any other
brings its guests there as well, so what was configured is always good, and is tried last.
"""

from __future__ import annotations

import ipaddress
import logging
import socket
from collections.abc import Sequence

from tunnel.address import RelayAddress, parse_relay
from tunnel.errors import UsageError, VshareError
from tunnel.relay_tls import RelayError, dial_relay

TOLD_WITHIN = 1.0  # seconds for a place that the share told, while others are left to try
MAX_TOLD = 8

log = logging.getLogger(__name__)


class RelayWay:
    """Client's `dial`: a connection to the relay. What is spoken on it has TLS up to the share, so
    no certificate of a relay's matters."""

    def __init__(self, relay: RelayAddress) -> None:
        self.configured = relay
        self._told: list[RelayAddress] = []
        self._was_public = False

    async def __call__(self) -> socket.socket:
        """A connected socket, the caller's to close. Raises RelayError, UsageError."""
        for place in list(self._told):
            try:
                return self._checked(await dial_relay(place, TOLD_WITHIN))
            except VshareError as error:
                log.debug("not by way of %s: %s", place, error.text)
                if place in self._told:  # the others come first from now on
                    self._told.remove(place)
                    self._told.append(place)
        sock = await dial_relay(self.configured)
        self._was_public = _is_public(sock)
        return sock

    def _checked(self, sock: socket.socket) -> socket.socket:
        """A share out there sends nobody into a private network. Raises RelayError."""
        if self._was_public and not _is_public(sock):
            sock.close()
            raise RelayError("the share names a relay in a private network")
        return sock

    def told(self, texts: Sequence[str]) -> bool:
        """The share has said where its relays are; whether the best is another one now."""
        places = []
        for text in texts[:MAX_TOLD]:
            try:
                address = parse_relay(text)
            except UsageError:
                continue
            places.append(_bare(address))
        before = self._told[:1] or [_bare(self.configured)]
        self._told = places
        return bool(places) and before != places[:1]


def _bare(relay: RelayAddress) -> RelayAddress:
    return RelayAddress(relay.host, relay.port, None)


def _is_public(sock: socket.socket) -> bool:
    try:
        return ipaddress.ip_address(str(sock.getpeername()[0]).partition("%")[0]).is_global
    except (OSError, ValueError):
        return False
