"""What comes on a stream, as h11's events."""

from __future__ import annotations

import asyncio

import h11

from relay.streams import ByteStream

# Of a body that comes in many small chunks, what is joined before it is sent on: one visitor's
# chunks must not cost the others their time, nor a TLS record each.
MAX_PIECE = 64 * 1024  # bytes
MAX_CHUNKS = 256  # parsed without a pause; about 5 ms


async def next_event(http: h11.Connection, stream: ByteStream) -> h11.Event:
    """The next event of the other side; PAUSED counts as the end."""
    while (event := maybe_event(http)) is None:
        http.receive_data(await stream.receive_some())
    return event


def maybe_event(http: h11.Connection) -> h11.Event | None:
    """The next event, of what has been received; None if more is needed."""
    event = http.next_event()
    if event is h11.NEED_DATA:
        return None
    if event is h11.PAUSED or isinstance(event, h11.ConnectionClosed):
        return h11.ConnectionClosed()
    return event  # type: ignore[return-value]  # h11 types the sentinels as events


class BodyEvents:
    """The rest of a message: of DATA, as much at once as has come, up to a limit."""

    def __init__(self, http: h11.Connection, stream: ByteStream) -> None:
        self._http, self._stream = http, stream
        self._next: h11.Event | None = None

    async def next_event(self) -> h11.Event:
        """DATA, or what comes behind it."""
        event, self._next = self._next, None
        if event is None:
            event = await next_event(self._http, self._stream)
        pieces, size = [], 0
        while isinstance(event, h11.Data):
            pieces.append(bytes(event.data))
            size += len(event.data)
            if size >= MAX_PIECE or len(pieces) >= MAX_CHUNKS:
                await asyncio.sleep(0)  # others have waited meanwhile
                return h11.Data(b"".join(pieces))
            event = maybe_event(self._http)
        if not pieces and event is not None:
            return event
        self._next = event
        return h11.Data(b"".join(pieces))
