"""How a share opens things on the machine: one interface, several ways.

`reach_direct` dials an address, `reach_ssh` goes through the machine's SSH server,
`reach_machine` picks per connection. A host "" is the machine itself; a loopback host is the
*machine's* loopback, never the sharer's; any other host is a neighbour, which the policy has
allowed as far as it can tell without a look-up. What is dialled is an address that
exposed.py picked.
"""

from __future__ import annotations

from types import TracebackType
from typing import Protocol, Self

from tunnel.ends import End
from tunnel.flows import CountingFlow, FlowReceiver

# A closed port answers in a round trip; ten seconds are three SYNs and some more.
OPEN_TIMEOUT_SECONDS = 10.0

MAX_DATAGRAM = 65_507  # RFC 768 over IPv4: 65,535 less both headers


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

    async def open_udp(self, host: str, port: int, receiver: FlowReceiver) -> CountingFlow:
        """A flow to `port`. Raises RefusedError; later refusals are told to `receiver`."""
