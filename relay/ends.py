"""A share as its owner looks at it from elsewhere, and its end by a click."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from relay.accounting import How
from relay.registry import Share
from tunnel.control import Ended
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
    share.send(Ended("expired", "it was ended on the relay's page"))
    share.finish(How.KICKED if by_operator else How.ENDED)
