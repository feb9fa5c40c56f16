"""A browser's request, made plain for the machine's server and for the rules on the way. Pure.

For browsers whose TLS ends at the share: what the relay's gateway does for all others. Heads are
read by tunnel/http_heads.py, which takes nothing that two programs could take for two things; here
is what depends on who asks. After it there is one X-Forwarded-For, and what it says is ours.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from http import HTTPStatus

from tunnel.errors import VshareError
from tunnel.http_forwarding import HOP_BY_HOP, NEVER_NAMED, forwarding_fields, is_forwarding
from tunnel.http_heads import Fields, RequestHead
from tunnel.http_pages import Page

_HOST = re.compile(rb"[A-Za-z0-9._-]+(?::\d{0,5})?")
_ABSOLUTE = re.compile(rb"(?i:https?)://([^/?#]*)([^#]*)")
_NOT_UPGRADED = frozenset((b"h2c", b"http/2.0"))  # requests inside would pass all rules unread


_NO_PROXY = Page(HTTPStatus.METHOD_NOT_ALLOWED, "This is not a forward proxy")
_NO_HOST = Page(HTTPStatus.BAD_REQUEST, "The Host field is no host")
_NO_TARGET = Page(HTTPStatus.BAD_REQUEST, "The request's target is none of this site")
_MISDIRECTED = Page(
    HTTPStatus.MISDIRECTED_REQUEST,
    "This connection was opened for another name",
    ["Open the address again."],
)


class BadRequestError(VshareError):
    """A request that the share answers itself."""

    def __init__(self, page: Page) -> None:
        super().__init__(page.title)
        self.page = page


@dataclass(frozen=True, slots=True)
class Browser:
    """Who asks: `host` as in its ClientHello, `address` an IP address, the relay's word."""

    host: str
    address: str

    def forwarding_fields(self, host: bytes) -> Fields:
        """What the machine's server is told of it, and the rules; `host` is the request's."""
        return forwarding_fields(self.address, "https", host)


def plain_request(head: RequestHead, browser: Browser) -> RequestHead:
    """`head` as it goes on. Raises BadRequestError."""
    if head.method == b"CONNECT":
        raise BadRequestError(_NO_PROXY)
    host = (head.value(b"host") or b"").lower()
    target = _origin_form(head, host)
    if not _HOST.fullmatch(host):
        raise BadRequestError(_NO_HOST)
    if host.partition(b":")[0].rstrip(b".") != browser.host.encode():
        raise BadRequestError(_MISDIRECTED)
    tokens = set(head.tokens(b"connection"))
    dropped = HOP_BY_HOP | (tokens - NEVER_NAMED)
    fields = [
        (name, value)
        for name, value in head.fields
        if (lower := name.lower()) not in dropped and not is_forwarding(lower)
    ]
    fields += browser.forwarding_fields(host)
    upgrades = [each for each in head.tokens(b"upgrade") if each not in _NOT_UPGRADED]
    if b"upgrade" in tokens and upgrades:
        fields += [(b"Connection", b"Upgrade"), (b"Upgrade", b", ".join(upgrades))]
    elif b"close" in tokens:
        fields.append((b"Connection", b"close"))
    return RequestHead(head.minor, fields, head.method, target)


def _origin_form(head: RequestHead, host: bytes) -> bytes:
    """The target as servers get it (RFC 9112 3.2)."""
    target = head.target
    if target.startswith(b"/") or (target == b"*" and head.method == b"OPTIONS"):
        return target
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is None or absolute[1].lower() != host:
        raise BadRequestError(_NO_TARGET)
    rest = absolute[2]
    return rest if rest.startswith(b"/") else b"/" + rest
