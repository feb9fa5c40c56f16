"""Addresses that people type: a relay, a connect line (docs/protocol.md 2). Pure."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from tunnel.errors import UsageError
from tunnel.names import JoinCode, ShareName, split_code

DEFAULT_PORT = 443
MIN_FINGERPRINT = 32  # hex digits: 128 bits
MAX_FINGERPRINT = 64  # SHA-256
MAX_HOST = 253  # RFC 1035 2.3.4, as text
_PORT = re.compile(r"[0-9]{1,5}")
# An address with a zone (RFC 4007 11) names an interface of the host that it is typed on.
_HOST_PORT = re.compile(
    r"(?:\[([0-9A-Fa-f:.]+(?:%[A-Za-z0-9._~-]{1,32})?)\]|([^\[\]:/@#\s]+))(?::(\d{1,5}))?"
)


@dataclass(frozen=True, slots=True)
class RelayAddress:
    """Where a relay is. `fingerprint` (lowercase hex) pins its certificate; None: a public one."""

    host: str
    port: int = DEFAULT_PORT
    fingerprint: str | None = None

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        pin = f"#{self.fingerprint[:MIN_FINGERPRINT]}" if self.fingerprint else ""
        return f"{host}:{self.port}{pin}"


def parse_port(text: str) -> int:
    """A port, 1 to 65535. Raises UsageError."""
    if not _PORT.fullmatch(text) or not 1 <= int(text) <= 65_535:
        raise UsageError(f"not a port: {text!r}", "ports are numbers from 1 to 65535")
    return int(text)


def parse_host_port(text: str, default_port: int) -> tuple[str, int]:
    """`HOST[:PORT]` or `[IPV6][:PORT]`. Raises UsageError."""
    match = _HOST_PORT.fullmatch(text)
    if not match or len(text) > MAX_HOST + 8:
        raise UsageError(f"not an address: {text!r}", "write HOST:PORT, or [IPV6]:PORT")
    host = match[1] or match[2]
    if match[1] and not _is_ipv6(host):
        raise UsageError(f"not an IPv6 address: {host!r}", "write [IPV6]:PORT, or [IPV6%ZONE]:PORT")
    return host, parse_port(match[3]) if match[3] else default_port


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


def without_zone(host: str) -> str:
    """`host` as others may be told it: a zone means nothing to them (RFC 6874 1)."""
    return host.partition("%")[0]


def parse_relay(text: str) -> RelayAddress:
    """`HOST[:PORT][#FINGERPRINT]`. Raises UsageError."""
    place, mark, pin = text.strip().partition("#")
    host, port = parse_host_port(place, DEFAULT_PORT)
    if not mark:
        return RelayAddress(host, port)
    pin = pin.lower()
    if not re.fullmatch(r"[0-9a-f]+", pin) or not MIN_FINGERPRINT <= len(pin) <= MAX_FINGERPRINT:
        raise UsageError(
            f"not a relay's fingerprint: {pin!r}",
            f"it has {MIN_FINGERPRINT} to {MAX_FINGERPRINT} hex digits; `vrelay serve` prints it",
        )
    return RelayAddress(host, port, pin)


@dataclass(frozen=True, slots=True)
class ConnectLine:
    """What `vconnect` is given: `NAME[-CODE][@RELAY]`."""

    name: ShareName
    code: JoinCode | None = None
    relay: RelayAddress | None = None


def parse_connect_line(text: str) -> ConnectLine:
    """Take a connect line apart. Raises UsageError."""
    name, mark, relay = text.strip().partition("@")
    share, code = split_code(name)
    return ConnectLine(share, code, parse_relay(relay) if mark else None)
