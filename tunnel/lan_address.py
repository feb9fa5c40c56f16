"""The address that others on this host's network reach it by."""

from __future__ import annotations

import socket

from tunnel.errors import VshareError

# For documentation (RFC 5737, RFC 3849), so they take the default route; IPv4 is tried first.
_ELSEWHERE = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))


def lan_address(wish: str) -> str:
    """This host's address on its network. Raises VshareError, naming `wish`, if it has none.

    Connecting a datagram socket sends nothing; the kernel picks the source address
    (RFC 6724).
    """
    for family, elsewhere in _ELSEWHERE:
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((elsewhere, 9))
                return str(probe.getsockname()[0])
        except OSError:  # no way there, or none of that family at all
            continue
    raise VshareError(
        f"{wish}: this host has no address on any network",
        "connect to a network, or share on this host alone",
    )
