"""What the connect side needs of a session with a share: streams and flows, by host and port."""

from __future__ import annotations

from typing import Protocol

from tunnel.ends import End
from tunnel.flows import Flow, FlowReceiver


class Opener(Protocol):
    """A session with a share that opens streams and flows on its network."""

    async def open(self, host: str, port: int) -> End:
        """A stream to `host` ("": the shared machine), opened.

        Raises RefusedError (with the share's code and text) or LostError, in bounded time.
        Cancelled: the stream is given up.
        """
        ...

    async def open_flow(self, host: str, port: int, receiver: FlowReceiver) -> Flow:
        """A flow to `host` ("": the shared machine); never waits for the network.

        Raises LostError when there is no lane to the share.
        """
        ...
