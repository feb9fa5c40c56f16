"""Which way leads to a host from here: through a proxy, or straight."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Mapping

from tunnel.address import without_zone
from tunnel.proxy import Proxy, proxy_for


def way_to(host: str, environ: Mapping[str, str]) -> Proxy | None:
    """As `proxy_for`; an address of this very host is dialled directly, too. Raises UsageError."""
    return None if _is_own(without_zone(host)) else proxy_for(host, environ)


def _is_own(host: str) -> bool:
    """Whether `host` is an address of this host: the kernel lets it be bound. Sends nothing."""
    if not is_literal(host):
        return False
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.bind((host, 0))
    except OSError:
        return False
    return True


def is_literal(host: str) -> bool:
    """Whether `host` is an IP address."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
