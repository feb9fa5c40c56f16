"""The proxy that leads out of this network, as curl finds it in the environment. Pure.

http:// is HTTP CONNECT (RFC 9110 9.3.6), socks5:// and socks5h:// are SOCKS5 (RFC 1928), which
resolve the relay's name here and at the proxy. Passwords appear in no text of these modules.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote

from tunnel.address import parse_host_port, without_zone
from tunnel.errors import UsageError, VshareError

HTTP, SOCKS5, SOCKS5H = "http", "socks5", "socks5h"
# In curl's order, for what goes to an https:// address; the first that is not empty counts.
VARIABLES = ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")
EXEMPTIONS = ("no_proxy", "NO_PROXY")
DEFAULT_PORT = 1080  # curl's, for every kind of proxy that is supported here
MAX_URL = 2048  # characters
MAX_CREDENTIAL = 255  # bytes of a SOCKS5 user name or password (RFC 1929 2)
_URL = re.compile(r"(?:([A-Za-z][A-Za-z0-9+.-]*)://)?(?:(.*)@)?([^@]*?)/?", re.DOTALL)
_FORM = (
    "write http://[USER:PASSWORD@]HOST:PORT or socks5h://[USER:PASSWORD@]HOST:PORT;"
    " special characters of user and password as %XX"
)


class ProxyError(VshareError):
    """The proxy cannot be reached, or does not let us through.

    `ask` is what the network's administrator can do about it; empty where it is not for them.
    """

    def __init__(self, text: str, hint: str = "", ask: str = "") -> None:
        super().__init__(text, hint or (ask and f"ask your network's administrator: {ask}"))
        self.ask = ask


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy; `source` is the variable that names it. As text it shows no password."""

    scheme: str
    host: str
    port: int
    user: str = ""
    password: str = field(default="", repr=False)
    source: str = ""

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        credentials = f"{self.user}:***@" if self.user or self.password else ""
        return f"{self.scheme}://{credentials}{host}:{self.port}"

    @property
    def resolves(self) -> bool:
        """Whether the proxy resolves names, so that this host need not."""
        return self.scheme != SOCKS5


def proxy_for(host: str, environ: Mapping[str, str]) -> Proxy | None:
    """The proxy to dial `host` through; None: dial it directly. Raises UsageError."""
    return None if is_exempt(host, environ) else configured(environ)


def configured(environ: Mapping[str, str]) -> Proxy | None:
    """The proxy that the environment names, for any host. Raises UsageError."""
    for name in VARIABLES:
        if environ.get(name):
            return parse_proxy(environ[name], name)
    return None


def parse_proxy(url: str, source: str) -> Proxy:
    """What `url`, from the variable `source`, means. Raises UsageError, which does not show it."""
    match = _URL.fullmatch(url.strip())
    if not match or len(url) > MAX_URL or not url.isprintable():
        raise UsageError(f"{source} does not name a proxy", _FORM)
    scheme = (match[1] or HTTP).lower()
    if scheme == "https":
        raise UsageError(
            f"{source} names a proxy that is itself reached by TLS (https://), which is not"
            " supported",
            "use the same proxy by http://, if it allows that: what goes through it is encrypted"
            " from end to end anyway",
        )
    if scheme not in (HTTP, SOCKS5, SOCKS5H):
        raise UsageError(f"{source} names a proxy of an unknown kind: {scheme[:20]}://", _FORM)
    try:
        host, port = parse_host_port(match[3], DEFAULT_PORT)
    except UsageError:  # it may show what is part of a password with a / or @ in it
        raise UsageError(f"{source} does not name a proxy by HOST:PORT", _FORM) from None
    user, _, password = (match[2] or "").partition(":")
    proxy = Proxy(scheme, host, port, unquote(user), unquote(password), source)
    if scheme != HTTP:
        _check_socks(proxy)
    return proxy


def _check_socks(proxy: Proxy) -> None:
    if bool(proxy.user) != bool(proxy.password):
        raise UsageError(f"{proxy.source} names a SOCKS5 user without a password", _FORM)
    if max(len(proxy.user.encode()), len(proxy.password.encode())) > MAX_CREDENTIAL:
        text = f"{proxy.source} has a user or password of more than {MAX_CREDENTIAL} bytes"
        raise UsageError(text, "SOCKS5 has no room for more (RFC 1929)")


def is_exempt(host: str, environ: Mapping[str, str]) -> bool:
    """Whether `host` is dialled directly whatever proxy is configured: loopback always is."""
    name = without_zone(host).rstrip(".").lower()
    address = _address(name)
    if address.is_loopback if address else name == "localhost" or name.endswith(".localhost"):
        return True
    listed = next((environ[each] for each in EXEMPTIONS if environ.get(each)), "")
    for entry in re.split(r"[\s,]+", listed):
        if entry == "*":
            return True
        if address is not None:
            if _is_in(address, entry.strip("[]")):
                return True
        elif (suffix := entry.strip(".").lower()) and f".{name}".endswith(f".{suffix}"):
            return True
    return False


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _is_in(address: ipaddress.IPv4Address | ipaddress.IPv6Address, entry: str) -> bool:
    try:
        return address in ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return False
