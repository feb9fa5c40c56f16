"""The HTTP that is spoken on a stream to a share: h11, and what it has to be told."""

from __future__ import annotations

import h11

from relay.http_events import maybe_event
from relay.http_rules import FRAMING, has_body
from relay.streams import UpstreamStream
from relay.upstreams import Door

MAX_ANSWER_HEAD = 64 * 1024  # bytes: servers with many cookies


class ShareHttp:
    """A stream to a share and the HTTP spoken on it."""

    def __init__(self, door: Door, stream: UpstreamStream) -> None:
        self.door, self.stream = door, stream
        self.http = h11.Connection(h11.CLIENT, MAX_ANSWER_HEAD)
        self.heard = False  # something of the answer to the last request
        self.is_head = False  # whether that asked for a head alone

    def is_reusable(self) -> bool:
        """Whether another request may go over it."""
        return self.http.states == {h11.CLIENT: h11.IDLE, h11.SERVER: h11.IDLE} and (
            self.stream.is_quiet and not self.http.trailing_data[0]
        )

    def begin(self, request: h11.Request) -> bytes:
        """The head for the share. To `http` it is the whole request: bodies are counted apart."""
        self.heard, self.is_head = False, request.method == b"HEAD"
        bare = request
        if has_body(request):
            kept = request.headers.raw_items()
            kept = [(name, value) for name, value in kept if name.lower() not in FRAMING]
            bare = h11.Request(method=request.method, target=request.target, headers=kept)
        head = self.http.send(bare) or b""
        self.http.send(h11.EndOfMessage())
        return head if bare is request else h11.Connection(h11.CLIENT).send(request) or b""

    async def next_event(self) -> h11.Event:
        """The next one of the answer. Raises LostError, h11.RemoteProtocolError."""
        while (event := maybe_event(self.http)) is None:
            data = await self.stream.receive_some()
            self.heard = self.heard or bool(data)
            self.http.receive_data(data)
        return event
