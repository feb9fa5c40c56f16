"""A share as its owner looks at it from elsewhere, and its end by a click."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from relay.registry import Share
from tunnel.names import ShareName


@dataclass(frozen=True, slots=True)
class Owned:
    """A share that is connected: here, or to the other relay of the cluster at `place`."""

    name: ShareName
    token: str  # its ID
    ends_at: float  # seconds since the epoch
    visits: int = 0  # connections of visitors; of those elsewhere nothing is known
    place: str = ""


def end_share(share: Share, end_lease: Callable[[Share], None], *, by_operator: bool) -> None:
    """End it here, for whoever has clicked; its name is held for its owner as ever."""
    end_lease(share)
    if by_operator:
        share.end("operator", "the relay's operator has ended it")
    else:
        share.end("page", "it was ended from the relay's pages, by who signed in there")
