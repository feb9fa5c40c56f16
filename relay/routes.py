"""Who answers a connection, by its first bytes (docs/protocol.md 3). Pure."""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Container
from dataclasses import dataclass, field

import msgspec

from tunnel.clienthello import ClientHello, Incomplete, is_handshake, parse_client_hello
from tunnel.errors import RemoteProtocolError, UsageError
from tunnel.names import ShareName, parse_name
from tunnel.parking import PARK_ALPN

GUEST_ALPN = b"vshare/1"
JOIN_ALPN = b"vshare-join/1"
# The one that browsers are given: with HTTP/2 they would put requests for several shares on one
# connection, where a certificate covers them all (RFC 9113 9.1.1).
HTTP_1_1 = "http/1.1"
HTTP_ALPNS = (b"http/1.1", b"h2")
MAX_HEAD = 16 * 1024  # bytes of the first request's head
HTTP_STARTS = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
_ROUTE = re.compile(r"[0-9a-f]{32}")
_EXTRA = re.compile(r"[a-z0-9-]*")  # names.host_label
_TARGET = re.compile(rb"[A-Z]{1,20} (/\S*) HTTP/1\.[01]\r?\n")
_END_OF_HEAD = (b"\r\n\r\n", b"\n\n", b"\n\r\n")


class Answerer(enum.Enum):
    """Who a connection is for."""

    SHARE = "share"  # blind, a guest with a certificate
    JOIN = "join"  # blind, a guest with a code; a decoy where there is no such share
    PARK = "park"  # a share that parks
    GATEWAY = "gateway"
    APPLICATION = "application"
    NOBODY = "nobody"


@dataclass(frozen=True, slots=True)
class Route:
    """`name` for JOIN and GATEWAY (empty: SOLE), `share_route` for SHARE; `server_name` is the SNI;
    `tls` whether TLS is spoken."""

    answerer: Answerer
    tls: bool
    name: ShareName | None = None
    server_name: str | None = None
    share_route: str = ""


class Site(msgspec.Struct, frozen=True):
    """What a host name below the relay's domain stands for; `label` as in `NAME--LABEL`."""

    name: ShareName
    label: str = ""


SOLE = Site(ShareName(""))  # a relay's one share, whatever its name; no share has an empty one


def _none_own(host: str) -> Site | None:
    return None


@dataclass(frozen=True, slots=True)
class Sites:
    """Which hosts are shares': those below `domain`, what `own` finds, and `sole_host` where a
    relay has but one.

    All are as from `strip_port`; `sole_host` is empty otherwise. `challenges` are the paths that an
    authority asks for at any host without TLS (RFC 8555 8.3): those are the relay's.
    """

    domain: str
    sole_host: str = ""
    own: Callable[[str], Site | None] = field(default=_none_own)
    challenges: Container[str] = ()

    def find(self, host: str) -> Site | None:
        """What `host` (as from `strip_port`) stands for; None if it is not a share's."""
        if self.sole_host and host == self.sole_host:
            return SOLE
        return self.named(host)

    def named(self, host: str) -> Site | None:
        """The same, but for what is found by an address alone."""
        return parse_site(host, self.domain) or self.own(host)

    def is_own(self, host: str) -> bool:
        """Whether `host` is a share's by what `own` finds, which may be another share's soon."""
        return parse_site(host, self.domain) is None and self.own(host) is not None


def maybe_route(data: bytes, sites: Sites) -> Route | Incomplete:
    """The route for a connection that begins with `data`. Raises RemoteProtocolError."""
    if is_handshake(data):
        hello = parse_client_hello(data)
        return hello if isinstance(hello, Incomplete) else route_tls(hello, sites)
    if data[:1] and data[0] not in HTTP_STARTS:
        raise RemoteProtocolError("neither TLS nor HTTP")
    head = maybe_head(data)
    if head is None:
        return Incomplete(len(data) + 1)
    site = sites.find(host_of(head))
    if site is None or _is_challenge(head, sites):
        return Route(Answerer.APPLICATION, tls=False)
    return Route(Answerer.GATEWAY, tls=False, name=site.name)


def _is_challenge(head: bytes, sites: Sites) -> bool:
    """Whether an authority asks for what we gave it our word for, at a share's host."""
    target = _TARGET.match(head)
    return target is not None and target[1].decode("latin-1") in sites.challenges


def route_tls(hello: ClientHello, sites: Sites) -> Route:
    """The route for a TLS connection."""
    sni = hello.server_name
    label = (sni or "").partition(".")[0]
    if GUEST_ALPN in hello.alpn:
        if _ROUTE.fullmatch(label):
            return Route(Answerer.SHARE, True, None, sni, label)
        return Route(Answerer.NOBODY, True, None, sni)
    if JOIN_ALPN in hello.alpn:
        name = _name_or_none(label)
        return Route(Answerer.JOIN if name else Answerer.NOBODY, True, name, sni)
    if PARK_ALPN.encode() in hello.alpn:
        return Route(Answerer.PARK, True, None, sni)
    if hello.alpn and not any(alpn in HTTP_ALPNS for alpn in hello.alpn):
        return Route(Answerer.NOBODY, True, None, sni)
    site = sites.named(sni or "")
    if site is None:
        return Route(Answerer.APPLICATION, True, None, sni)
    return Route(Answerer.GATEWAY, True, site.name, sni)


def maybe_head(data: bytes) -> bytes | None:
    """The request line and headers at the start of `data`; None while incomplete."""
    ends = [at for at in (data.find(mark) for mark in _END_OF_HEAD) if at >= 0]
    return data[: min(ends)] if ends else None


def host_of(head: bytes) -> str:
    """The Host of an HTTP/1.1 head, without port, in lower case; empty if there is none."""
    for line in head.split(b"\n")[1:]:
        field, _, value = line.partition(b":")
        if field.strip().lower() == b"host":
            return strip_port(value.strip().decode("latin-1"))
    return ""


def strip_port(host: str) -> str:
    """`HOST[:PORT]` without its port, in lower case, without a final dot."""
    bare = host[: host.rfind("]") + 1] if host.startswith("[") else host.partition(":")[0]
    return bare.rstrip(".").lower()


def parse_site(host: str, domain: str) -> Site | None:
    """What `host` (as from `strip_port`) stands for; None if it is not a share's."""
    label, dot, rest = host.partition(".")
    if not dot or rest != domain:
        return None
    first, _, extra = label.partition("--")
    name = _name_or_none(first)
    # A name that was mended (white space) is another one; what we make has no other characters.
    if name != first or not _EXTRA.fullmatch(extra):
        return None
    return Site(name, extra)


def _name_or_none(text: str) -> ShareName | None:
    try:
        return parse_name(text)
    except UsageError:
        return None
