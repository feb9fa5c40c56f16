"""A flow of datagrams as its two users see it: who sends (Flow), who is told (FlowReceiver)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from tunnel.codes import Code

MAX_FLOWS = 1024  # per lane; a resolver or a game uses dozens
FLOW_IDLE = 60.0  # seconds without a datagram; RFC 4787 asks NATs for more, DNS needs far less


class FlowReceiver(Protocol):
    """Whoever opened a flow. Called in the event loop's thread, never after `close` or the end."""

    def datagram_received(self, data: bytes) -> None:
        """One datagram came back, up to 65,507 bytes."""

    def flow_refused(self, code: Code) -> None:
        """The other side will not have it, or nothing listens there (ICMP). The last call."""

    def flow_closed(self) -> None:
        """Silence, or the session is over; open a new one to go on. The last call."""


class Flow(Protocol):
    """One UDP (source, destination) pair."""

    def send(self, data: bytes) -> None:
        """Send one datagram. Never waits: what cannot be taken is dropped, as UDP does."""

    def close(self) -> None:
        """End the flow; its receiver hears nothing more. Idempotent."""


class CountingFlow(Flow, Protocol):
    """A flow that knows what it lost."""

    @property
    def dropped(self) -> int:
        """Datagrams lost here so far, either way, for want of room."""


@dataclass(slots=True)
class Datagrams:
    """How many there were: towards the share, from it, and lost on this side of it."""

    sent: int = 0
    received: int = 0
    dropped: int = 0
