"""Whether a request was made by the guest page itself. Pure.

The machine's own sites are other origins below the same domain, and what runs there may be a
guest's: browsers send SameSite cookies along for them, so that the cookie alone proves nothing.
"""

from __future__ import annotations

from tunnel.http_heads import RequestHead
from vshare.web.visit import is_https

_OURS: tuple[list[bytes], ...] = ([], [b"same-origin"], [b"none"])
_READS = (b"GET", b"HEAD")


def authority_of(head: RequestHead) -> bytes:
    """`HOST[:PORT]` as the visitor has it."""
    return (head.value(b"x-forwarded-host") or head.value(b"host") or b"").lower()


def is_own_origin(head: RequestHead) -> bool:
    """Whether the request says, by Origin, that a page of this very site made it (RFC 6454 7).
    Browsers say it with each form and each WebSocket."""
    scheme = b"https://" if is_https(head) else b"http://"
    return head.values(b"origin") == [scheme + authority_of(head)]


def may_ask(head: RequestHead) -> bool:
    """Whether it may be answered at all: what this page's own origin asks for, or a person who
    opens it (Fetch Metadata, where the browser says it)."""
    if head.is_upgrade or head.method not in _READS:
        return is_own_origin(head)
    if head.values(b"sec-fetch-site") in _OURS:
        return True
    return head.value(b"sec-fetch-mode") == b"navigate" and head.path == b"/"
