"""Which addresses beside the machine's own may be exposed, and which never are. Pure.

An address is looked at as the one that it leads to: `unwrap` takes an IPv4 address out of the
IPv6 addresses that carry one. What this host's own addresses are is for own_addresses.py.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from tunnel.address import MAX_HOST
from tunnel.errors import UsageError

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# The largest private network is a /8 (RFC 1918 3). A whole IPv6 region is less than a /16 (IANA,
# ipv6-unicast-address-assignments). What is larger is no neighbourhood but the Internet.
MIN_PREFIX = {4: 8, 6: 16}

_NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052 2.1
_TRANSLATED = IPv6Network("::ffff:0:0:0/96")  # RFC 2765 2.1
_LOCAL_NAT64 = IPv6Network("64:ff9b:1::/48")  # RFC 8215: where the IPv4 address stands is not known
_IPV4_COMPATIBLE = IPv6Network("::/96")  # RFC 4291 2.5.5.1, deprecated
_THIS_NETWORK = IPv4Network("0.0.0.0/8")  # RFC 1122 3.2.1.3; Linux connects 0.0.0.0 to the loopback
_EVERYBODY = IPv4Address("255.255.255.255")
_CARRIERS = tuple(  # an address in these is never looked at as itself, so none can be exposed
    map(
        IPv6Network,
        ("::/80", "::ffff:0:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32"),
    )
)

# Where clouds give their machines credentials, as far as is known: not each one was read in that
# cloud's own documentation. Link-local ones are closed as such; they are listed for the reason
# that is shown.
METADATA: dict[Address, str] = {
    ipaddress.ip_address(text): cloud
    for text, cloud in {
        "169.254.169.254": "most clouds'",
        "169.254.170.2": "Amazon ECS's",
        "169.254.170.23": "Amazon EKS's",
        "fd00:ec2::254": "Amazon EC2's",
        "fd00:ec2::23": "Amazon EKS's",
        "fd20:ce::254": "Google Cloud's",
        "168.63.129.16": "Azure's",
        "100.100.100.200": "Alibaba Cloud's",
        "192.0.0.192": "Oracle Cloud's",
        "169.254.42.42": "Scaleway's",
        "fd00:42::42": "Scaleway's",
        "169.254.0.23": "Tencent Cloud's",
    }.items()
}

# Letters, digits, hyphens (RFC 1123 2.1), and the underscore that people use. getaddrinfo(3)
# also takes numbers for addresses, with its own idea of them: they are names here.
_HOST_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*)")


def unwrap(address: Address) -> Address:
    """The IPv4 address that an IPv6 address leads to, where it carries one; else itself."""
    if isinstance(address, IPv4Address):
        return address
    inside = address.ipv4_mapped or address.sixtofour
    if inside is not None:
        return inside
    if address.teredo is not None:
        return address.teredo[1]
    carries = address in _NAT64 or address in _TRANSLATED or address in _IPV4_COMPATIBLE
    if carries and int(address) > 1:  # but :: and ::1
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address


def parse_address(text: str) -> Address | None:
    """`text` as the address that it leads to; None when it is a name, or has a zone (`%eth0`)."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.scope_id is not None:
        return None
    return unwrap(address)


def is_host_name(text: str) -> bool:
    """Whether `text` may be looked up. "127.1" may: what it leads to is what is checked."""
    return len(text) <= MAX_HOST and _HOST_NAME.fullmatch(text) is not None


def is_exact(address: Address, networks: Iterable[Network]) -> bool:
    """Whether `address` was exposed by name: a network of this address alone."""
    return ipaddress.ip_network(address) in networks


def why_never(address: Address) -> str:
    """Why `address` cannot be exposed at all; "" when it can."""
    if address.is_loopback:
        return "is a loopback address"
    if address.is_unspecified or address in _THIS_NETWORK:
        return "is no machine's address"
    if address.is_multicast:
        return "is a multicast address"
    if address == _EVERYBODY:
        return "is the broadcast address"
    if isinstance(address, IPv6Address) and address.is_link_local:
        return "is a link-local address, which needs a zone"
    if address in _LOCAL_NAT64:
        return "is translated to an IPv4 address that it does not tell"
    return ""


def why_by_name_only(address: Address) -> str:
    """Why `address` has to be exposed by itself, not as a part of a network; "" when not."""
    if address in METADATA:
        return f"is {METADATA[address]} metadata service"
    if address.is_link_local:
        return "is a link-local address"
    return ""


def why_closed(address: Address, networks: tuple[Network, ...]) -> str:
    """Why `address` (unwrapped) is closed where `networks` are exposed; "" when it is open."""
    never = why_never(address)
    if never:
        return never
    around = [network for network in networks if address in network]
    if not around:
        return "is not exposed"
    if is_exact(address, networks):
        return ""
    if any(_is_edge(address, network) for network in around):
        return "is a network's own or broadcast address"
    return why_by_name_only(address)


def _is_edge(address: Address, network: Network) -> bool:
    """RFC 1122 3.2.1.3; point-to-point networks have no such addresses (RFC 3021)."""
    if network.version != 4 or network.prefixlen >= 31:
        return False
    return address in (network.network_address, network.broadcast_address)


def parse_cidr(text: str) -> Network:
    """A network to expose: `10.0.0.0/24`, or one address. Raises UsageError."""
    place, mark, prefix = text.partition("/")
    try:
        if "%" in text or (mark and not prefix.isdigit()):
            raise ValueError
        network = ipaddress.ip_network(text, strict=False)
        address = ipaddress.ip_address(place)
    except ValueError:
        raise UsageError(
            f"not a network: {text!r}", "write 10.0.0.0/24, fd00:1::/64, or one address"
        ) from None
    if address != network.network_address:
        raise UsageError(
            f"{text} is one address and the length of a network",
            f"write {network} for the whole network, or {address} for that address alone",
        )
    _check_network(network)
    return network


def _check_network(network: Network) -> None:
    minimum = MIN_PREFIX[network.version]
    if network.prefixlen < minimum:
        raise UsageError(
            f"{network} is too large to expose: no neighbours, but a part of the Internet, which"
            " guests would then reach from your address",
            f"name the networks that are meant; a /{minimum} is the largest",
        )
    first, last = network.network_address, network.broadcast_address
    never = why_never(first)
    if never and never == why_never(last):
        hint = "share this host itself with --target 127.0.0.1" if first.is_loopback else ""
        raise UsageError(f"{network} cannot be exposed: {first} {never}", hint)
    if isinstance(network, IPv6Network) and any(map(network.subnet_of, _CARRIERS)):
        inside = unwrap(first)
        raise UsageError(
            f"{network} carries IPv4 addresses",
            f"expose the IPv4 network, of {inside}" if isinstance(inside, IPv4Address) else "",
        )
    if first != last and first.is_link_local and last.is_link_local:
        raise UsageError(
            f"{network} is link-local, where clouds keep what only a machine itself is to reach",
            "expose the addresses that are meant one by one",
        )
