"""What a proxy leaves out of the fields that it passes on, and what it adds (RFC 9110 7.6, RFC
7239). Pure."""

from __future__ import annotations

import ipaddress

from tunnel.http_heads import Fields

# RFC 9110 7.6.1, and what older software sends. Transfer-Encoding is for whoever frames.
HOP_BY_HOP = frozenset(
    (
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"te",
        b"upgrade",
        b"proxy-authorization",
        b"proxy-authenticate",
    )
)
# Never dropped because Connection names them: messages would change their meaning.
NEVER_NAMED = frozenset((b"host", b"content-length", b"transfer-encoding", b"expect"))
# To programs that get fields as variables (RFC 3875 4.1.18), X_A is X-A, and to some X.A is, too.
_AS_DASHES = bytes.maketrans(b"!#$%&'*+.^_`|~", b"-" * 14)


def is_forwarding(name: bytes) -> bool:
    """Whether the proxy alone says what is in this field (lower case)."""
    name = name.translate(_AS_DASHES)
    return name in (b"forwarded", b"x-real-ip") or name.startswith(b"x-forwarded-")


def forwarding_fields(address: str, scheme: str, host: bytes) -> Fields:
    """What a server is told of where a request for `host` came from: an IP address, `http` or
    `https`."""
    return [
        (b"X-Forwarded-For", address.encode()),
        (b"X-Forwarded-Proto", scheme.encode()),
        (b"X-Forwarded-Host", host),
        (b"Forwarded", _forwarded(address, scheme, host)),
    ]


def _forwarded(address: str, scheme: str, host: bytes) -> bytes:
    """RFC 7239 4; IPv6 addresses are bracketed and quoted, hosts with a port are quoted."""
    try:
        is_v6 = ipaddress.ip_address(address.partition("%")[0]).version == 6
    except ValueError:
        is_v6 = False
    node = f'"[{address}]"' if is_v6 else address
    quoted = host.replace(b"\\", rb"\\").replace(b'"', rb"\"")  # RFC 9110 5.6.4
    return b'for=%b;host="%b";proto=%b' % (node.encode("latin-1"), quoted, scheme.encode())
