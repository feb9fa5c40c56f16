"""How a share opens things on the machine: one interface, several ways.

`reach_direct` dials an address, `reach_ssh` goes through the machine's SSH server,
`reach_machine` picks per connection. A host "" is the machine itself; a loopback host is the
*machine's* loopback, never the sharer's; any other host is for the policy to have allowed.
"""

from __future__ import annotations

from types import TracebackType
from typing import Protocol, Self

from tunnel.codes import Code
from tunnel.ends import End

# A closed port answers in a round trip; ten seconds are three SYNs and some more.
OPEN_TIMEOUT_SECONDS = 10.0

MAX_DATAGRAM = 65_507  # RFC 768 over IPv4: 65,535 less both headers


class FlowReceiver(Protocol):
    """Who is told what comes back on a flow. Called in the event loop's thread."""

    def datagram_received(self, data: bytes) -> None:
        """One datagram from the machine."""

    def flow_refused(self, code: Code) -> None:
        """Nothing listens there (ICMP port unreachable), or it cannot be reached. The last call."""

    def flow_closed(self) -> None:
        """The way to the machine is gone. The last call."""


class Flow(Protocol):
    """One UDP association with a port of the machine."""

    def send(self, data: bytes) -> None:
        """Send one datagram. Never waits: what cannot be taken is dropped, as UDP does."""

    def close(self) -> None:
        """End the flow; its receiver is not called again. Idempotent."""


class Reach(Protocol):
    """A way to the machine. An async context manager: leaving it closes what it holds."""

    async def __aenter__(self) -> Self:
        """Get ready. Raises VshareError when this way is known not to work."""

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close what is held."""

    async def open_tcp(self, host: str, port: int) -> End:
        """A connection to `port`, within OPEN_TIMEOUT_SECONDS. Raises RefusedError.

        The End is not linked yet; it is the caller's to bridge, or to reset.
        """

    async def open_udp(self, host: str, port: int, receiver: FlowReceiver) -> Flow:
        """A flow to `port`. Raises RefusedError; later refusals are told to `receiver`."""
