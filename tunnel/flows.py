"""A flow of datagrams as its two users see it: who sends (Flow), who is told (FlowReceiver)."""

from __future__ import annotations

from typing import Protocol

from tunnel.codes import Code


class FlowReceiver(Protocol):
    """Whoever opened a flow. Called in the event loop's thread, never after `close` or the end."""

    def datagram_received(self, data: bytes) -> None:
        """One datagram came back, up to 65,507 bytes."""

    def flow_refused(self, code: Code) -> None:
        """The other side will not have it, or nothing listens there (ICMP). The last call."""

    def flow_closed(self) -> None:
        """Silence, or the way there was lost; open a new one to go on. The last call."""


class Flow(Protocol):
    """One UDP (source, destination) pair."""

    def send(self, data: bytes) -> None:
        """Send one datagram. Never waits: what cannot be taken is dropped, as UDP does."""

    def close(self) -> None:
        """End the flow; its receiver hears nothing more. Idempotent."""
