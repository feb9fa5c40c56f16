"""A relay inside `vshare up`, for when none is configured: one machine needs no server at all."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from relay.config import RelayConfig
from relay.server import Relay
from tunnel.address import RelayAddress
from tunnel.lan_address import lan_address


@contextlib.asynccontextmanager
async def embedded_relay(*, lan: bool) -> AsyncIterator[RelayAddress]:
    """A relay of this process: on loopback, or for everybody on this network with `lan`.

    On loopback the URL is NAME.localhost, which browsers resolve to the host they run on; on
    the network it is this host's address, which needs no name at all.
    """
    host = "127.0.0.1"
    if lan:
        host = lan_address("--lan")
    async with Relay(RelayConfig(host=host, domain="localhost", sole_share=lan)) as relay:
        yield relay.address
