"""What a request says of its visitor: from where, how, and what kind of program. Pure.

The gateway sets the X-Forwarded fields of each request, one of each, whatever the visitor sent:
the address is the relay's word, and so is the rest.
"""

from __future__ import annotations

import ipaddress
import re
from ipaddress import IPv4Address, IPv6Address
from urllib.parse import parse_qsl

from tunnel.http_heads import RequestHead
from tunnel.http_pages import Media, negotiate
from tunnel.source import source_of

OURS = b"/.vshare/"  # paths that the share answers itself, where a rule is there for them
HOME = b"/"
MAX_PLACE = 1000  # bytes: where a visitor is sent back to; a form has it percent-encoded
MAX_FIELDS = 8  # of a form
# A path of the same site, whatever reads it: `//host` and `/\host` would be another one.
_PLACE = re.compile(rb"/(?:[!-.0-\[\]-~][!-\[\]-~]*)?")


def address_of(head: RequestHead) -> IPv4Address | IPv6Address | None:
    """The visitor's address; None if the gateway says none."""
    values = head.values(b"x-forwarded-for")
    try:
        address = ipaddress.ip_address(values[0].decode("ascii").partition("%")[0])
    except (IndexError, ValueError):
        return None
    if len(values) > 1:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def source_of_visit(head: RequestHead) -> str:
    """What the visitor is limited by, as from `source_of`."""
    address = address_of(head)
    return source_of(str(address)) if address is not None else ""


def is_https(head: RequestHead) -> bool:
    """Whether the visitor's browser speaks TLS."""
    return head.value(b"x-forwarded-proto") == b"https"


def host_of(head: RequestHead) -> bytes:
    """The site's host as the visitor has it, in lower case, without a port."""
    host = _authority(head)
    bare = host[: host.rfind(b"]") + 1] if host.startswith(b"[") else host.partition(b":")[0]
    return bare.rstrip(b".")


def _authority(head: RequestHead) -> bytes:
    return (head.value(b"x-forwarded-host") or head.value(b"host") or b"").lower()


def media_of(head: RequestHead) -> Media:
    """What a page is written as."""
    return Media.TEXT if head.is_upgrade else negotiate(b",".join(head.values(b"accept")))


def is_navigation(head: RequestHead) -> bool:
    """Whether a browser opens a page for a person, in a tab of its own (Fetch Metadata, where the
    browser says it; over plain HTTP it does not)."""
    if head.method not in (b"GET", b"HEAD") or head.is_upgrade:
        return False
    mode, place = head.value(b"sec-fetch-mode"), head.value(b"sec-fetch-dest")
    if mode not in (None, b"navigate") or place not in (None, b"document"):
        return False
    return media_of(head) is Media.HTML


def is_from_elsewhere(head: RequestHead) -> bool:
    """Whether a page of another site sends this form (RFC 6454 7); programs say nothing."""
    origins = head.values(b"origin")
    return any(each.lower().partition(b"://")[2] != _authority(head) for each in origins)


def place_of(head: RequestHead) -> bytes:
    """Where the visitor is to go when it has been let in."""
    return safe_place(head.target) if head.method in (b"GET", b"HEAD") else HOME


def safe_place(target: bytes) -> bytes:
    """`target` if it is a path of this site, and of the machine's: never another site."""
    is_safe = len(target) <= MAX_PLACE and _PLACE.fullmatch(target)
    return target if is_safe and not target.startswith(OURS) else HOME


def form_fields(head: RequestHead, data: bytes) -> dict[str, str] | None:
    """The fields of a form as browsers send it; None if it is none."""
    kind = (head.value(b"content-type") or b"").partition(b";")[0].strip().lower()
    if kind != b"application/x-www-form-urlencoded":
        return None
    try:
        pairs = parse_qsl(
            data.decode("ascii"), True, encoding="utf-8", errors="strict", max_num_fields=MAX_FIELDS
        )
    except ValueError:
        return None
    return dict(pairs)
