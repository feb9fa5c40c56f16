"""The address that others on this host's network reach it by."""

from __future__ import annotations

import socket

from tunnel.errors import VshareError


def lan_address(wish: str) -> str:
    """This host's address on its network. Raises VshareError, naming `wish`, if it has none.

    Connecting a datagram socket sends nothing; the kernel picks the source address
    (RFC 6724). 192.0.2.1 is for documentation (RFC 5737), so it takes the default route.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError as error:
            raise VshareError(
                f"{wish}: this host has no address on any network",
                "connect to a network, or share on this host alone",
            ) from error
        return str(probe.getsockname()[0])
