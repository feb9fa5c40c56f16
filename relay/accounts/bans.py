"""Whom a relay does not serve: addresses, tokens and names. Pure."""

from __future__ import annotations

import enum
import ipaddress
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tunnel.errors import UsageError
from tunnel.names import parse_name
from tunnel.relay_token import PREFIX, parse_token

_SHORTEST = {4: 8, 6: 16}  # bits of a network: what is larger is a slip of the hand
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Kind(enum.StrEnum):
    """What a ban is of."""

    ADDRESS = "address"  # or a network
    TOKEN = "token"
    NAME = "name"


@dataclass(frozen=True, slots=True)
class Ban:
    """`until`: seconds since the epoch; None: for ever."""

    kind: Kind
    what: str
    reason: str = ""
    until: float | None = None

    def is_over(self, now: float) -> bool:
        """Whether its time is."""
        return self.until is not None and self.until <= now

    @property
    def sentence(self) -> str:
        """For who is banned."""
        return f"its {self.kind} is banned here" + (f": {self.reason}" if self.reason else "")


class Bans:
    """Looked up in memory, for each connection before anything is read of it."""

    def __init__(self) -> None:
        self._bans: list[Ban] = []
        self._others: dict[tuple[Kind, str], Ban] = {}
        # By the length of their prefixes (in all: IPv4's are 96 longer), and then by those.
        self._networks: dict[int, dict[int, Ban]] = {}
        self.version = 0  # of what is here

    def replace(self, bans: Iterable[Ban]) -> None:
        """From now on there are these."""
        bans = list(bans)
        if bans == self._bans:
            return
        self._bans = bans
        self.version += 1
        networks: dict[int, dict[int, Ban]] = {}
        others: dict[tuple[Kind, str], Ban] = {}
        for ban in bans:
            if ban.kind is not Kind.ADDRESS:
                others[ban.kind, ban.what] = ban
                continue
            network = ipaddress.ip_network(ban.what)
            length = network.prefixlen + (96 if network.version == 4 else 0)
            bits = _bits(network.network_address) >> (128 - length)
            networks.setdefault(length, {})[bits] = ban
        self._networks, self._others = networks, others

    def of_address(self, address: str, now: float) -> Ban | None:
        """What bans a connection from there."""
        if not self._networks:  # as nearly always
            return None
        try:
            bits = _bits(ipaddress.ip_address(address.partition("%")[0]))
        except ValueError:
            return None
        for length, networks in self._networks.items():
            ban = networks.get(bits >> (128 - length))
            if ban is not None and not ban.is_over(now):
                return ban
        return None

    def of_token(self, token: str, now: float) -> Ban | None:
        """What bans the token with that ID."""
        return self._of(Kind.TOKEN, token, now)

    def of_name(self, name: str, now: float) -> Ban | None:
        """What bans shares of that name."""
        return self._of(Kind.NAME, name, now)

    def _of(self, kind: Kind, what: str, now: float) -> Ban | None:
        ban = self._others.get((kind, what)) if self._others else None
        return None if ban is None or ban.is_over(now) else ban


def _bits(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> int:
    """IPv4's as those that are mapped into IPv6 (RFC 4291 2.5.5.2)."""
    return int(address) + (0xFFFF << 32 if address.version == 4 else 0)


def parse_ban(text: str, is_token: Callable[[str], bool]) -> tuple[Kind, str]:
    """What somebody who types `text` wants banned, in the one form that is kept: an address or a
    network, a token (itself, or an ID of which `is_token` is true), or a share's name.

    Raises UsageError.
    """
    text = text.strip()
    network = _maybe_network(text)
    if network is not None:
        _check_network(network)
        return Kind.ADDRESS, str(network)
    if text.startswith(PREFIX):
        return Kind.TOKEN, parse_token(text).id
    if is_token(text):
        return Kind.TOKEN, text
    return Kind.NAME, parse_name(text)


def _maybe_network(text: str) -> Network | None:
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None
    if isinstance(network, ipaddress.IPv6Network):
        mapped = network.network_address.ipv4_mapped
        if mapped is not None and network.prefixlen >= 96:
            return ipaddress.ip_network((mapped, network.prefixlen - 96))
        if network.prefixlen > 64:  # one customer has that much, and changes within it at will
            return network.supernet(new_prefix=64)
    return network


def _check_network(network: Network) -> None:
    if network.prefixlen < _SHORTEST[network.version]:
        raise UsageError(
            f"{network} is too large a part of the network",
            f"ban networks of /{_SHORTEST[network.version]} and longer",
        )
    if network.is_loopback:
        raise UsageError(f"{network} is this host itself", "give the address of who comes to it")
