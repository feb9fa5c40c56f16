"""A relay inside `vshare up`, for when none is configured: one machine needs no server at all."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import AsyncIterator

from relay.config import RelayConfig
from relay.server import Relay
from tunnel.address import RelayAddress
from tunnel.errors import VshareError


@contextlib.asynccontextmanager
async def embedded_relay(*, lan: bool) -> AsyncIterator[RelayAddress]:
    """A relay of this process: on loopback, or for everybody on this network with `lan`.

    On loopback the URL is NAME.localhost, which browsers resolve to the host they run on; on
    the network it is this host's address, which needs no name at all.
    """
    host = "127.0.0.1"
    if lan:
        host = lan_address()
    async with Relay(RelayConfig(host=host, domain="localhost", sole_share=lan)) as relay:
        yield relay.address


def lan_address() -> str:
    """The address that this host has on its network. Raises VshareError when there is none.

    Connecting a datagram socket sends nothing; the kernel picks the source address
    (RFC 6724). 192.0.2.1 is for documentation (RFC 5737), so it takes the default route.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError as error:
            raise VshareError(
                "--lan: this host has no address on any network",
                "connect to a network, or leave --lan out to share on this host alone",
            ) from error
        return str(probe.getsockname()[0])
