"""Which domains are nobody's own at a relay. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from tunnel.errors import UsageError
from tunnel.own_domains import OwnDomain, check_host


def own_domain(text: str, relays: Iterable[str]) -> OwnDomain:
    """The domain that a share names, as it has to be sent. `relays`: the relay's own names.

    What is below one of them is for shares' names, or its pages; a site above could set cookies
    for them (RFC 6265 5.3). Raises UsageError.
    """
    check_host(text)
    for own in relays:
        if own and (text == own or text.endswith(f".{own}") or own.endswith(f".{text}")):
            raise UsageError(f"{text} is the relay's, as {own} is", "name a domain of your own")
    return OwnDomain(text)
