"""The names and addresses that mean the shared machine to local programs. Pure."""

from __future__ import annotations

import ipaddress
from functools import lru_cache

MAX_REMEMBERED = 256  # hosts whose one form is remembered: to see that a name is none costs 40 us


class OwnNames:
    """Which hosts are the shared machine: its names, its static IP, `SHARE.any.domain`.

    The share's name is also recognised as the first label of a longer one, because that is
    how the machine is called in its public URL, whatever the relay's domain is. All other
    names match as a whole. Capitals and a final dot do not count.
    """

    def __init__(self, share_name: str = "", *names: str) -> None:
        self._shares: set[str] = set()
        self._names: set[str] = set()
        self.add_share(share_name)
        for name in names:
            self.add(name)

    def add_share(self, name: str) -> None:
        """The share is called `name`, too."""
        if name:
            self._shares.add(canonical_host(name))
            self.add(name)

    def add(self, name: str) -> None:
        """`name` (a host name or an IP address) means the shared machine from now on."""
        if name:
            self._names.add(canonical_host(name))

    def discard(self, name: str) -> None:
        """`name` does not mean the shared machine any more."""
        self._names.discard(canonical_host(name))

    def __contains__(self, host: str) -> bool:
        """Does `host` mean the shared machine?"""
        name = canonical_host(host)
        if name in self._names:
            return True
        label, dot, _ = name.partition(".")
        return bool(dot) and label in self._shares

    def resolve(self, host: str) -> str:
        """The host to ask the share for: "" for the shared machine, else `host`."""
        return "" if host in self else host


@lru_cache(maxsize=MAX_REMEMBERED)
def canonical_host(host: str) -> str:
    """`host` in the one form that is compared: lowercase, no final dot, addresses shortest.

    An IPv4 address inside an IPv6 one (RFC 4291 2.5.5.2) is the IPv4 address.
    """
    name = host.lower().removesuffix(".")
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return name
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)
