"""What the connect side needs of a session with a share: streams and flows, by host and port."""

from __future__ import annotations

from typing import Protocol

from tunnel.codes import Code
from tunnel.ends import End


class FlowReceiver(Protocol):
    """Whoever opened a flow. All methods are called in the event loop's thread, never late."""

    def datagram_received(self, data: bytes) -> None:
        """One datagram came back, up to 65,507 bytes."""

    def flow_refused(self, code: Code) -> None:
        """The share refused the flow, or nothing listens there; nothing more comes."""

    def flow_closed(self) -> None:
        """The other side closed the flow, or the tunnel was lost; nothing more comes."""


class Flow(Protocol):
    """One UDP (source, destination) pair."""

    def send(self, data: bytes) -> None:
        """Queue one datagram. Never blocks: what does not fit pushes the oldest out."""

    def close(self) -> None:
        """End the flow. Idempotent; the receiver hears nothing more."""


class Opener(Protocol):
    """A session with a share that opens streams and flows on its network."""

    async def open(self, host: str, port: int) -> End:
        """A stream to `host` ("": the shared machine), opened.

        Raises RefusedError (with the share's code and text) or LostError. Cancelled: the
        stream is given up.
        """
        ...

    async def open_flow(self, host: str, port: int, receiver: FlowReceiver) -> Flow:
        """A flow to `host` ("": the shared machine); never waits for the network.

        Raises LostError when there is no lane to the share.
        """
        ...
