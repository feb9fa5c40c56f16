"""What counts as one source of connections, where they are limited per source. Pure."""

from __future__ import annotations

import ipaddress

_NEIGHBOURS = 48  # bits: a site's whole network in IPv6 (RFC 6177), given away for nothing


def source_of(address: str) -> str:
    """What counts as one source: an IPv4 address, an IPv6 /64 (one customer has that much)."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped:
            return str(ip.ipv4_mapped)
        return str(ipaddress.ip_network((ip, 64), strict=False))
    return str(ip)


def site_of(source: str) -> str:
    """The network that `source` (as from `source_of`) can take other sources from at will."""
    try:
        network = ipaddress.ip_network(source)
    except ValueError:
        return source
    if isinstance(network, ipaddress.IPv6Network):
        return str(network.supernet(new_prefix=min(_NEIGHBOURS, network.prefixlen)))
    return source


def is_loopback(source: str) -> bool:
    """Whether `source` is this machine, or a proxy on it: many people, for all that is known."""
    return source.startswith("127.") or source == "::/64"
