"""Streams that guests may go on with after their connection was lost (docs/protocol.md 8.2)."""

from __future__ import annotations

import asyncio

from tunnel.codes import Code
from tunnel.connection import Connection
from tunnel.errors import RefusedError
from tunnel.frames import Open, Opened, Resume
from tunnel.resumable_end import HELD_FOR, Phase, ResumableEnd
from tunnel.stream_end import StreamEnd
from vshare.guests import Guest

# Those included that have ended, and whose guests have not told that they have all of it. What is
# opened beyond ends with its connection.
MAX_STREAMS = 2_048

Key = tuple[str, bytes]  # the guest's fingerprint and the stream's id


class Resumables:
    """All of them, by the guest to whom they belong. Nobody else's RESUME finds one."""

    def __init__(self) -> None:
        self._streams: dict[Key, ResumableEnd] = {}
        self._timers: dict[Key, asyncio.TimerHandle] = {}

    def __len__(self) -> int:
        return len(self._streams)

    @property
    def is_full(self) -> bool:
        """Whether no more are taken."""
        return len(self._streams) >= MAX_STREAMS

    def accept(
        self, connection: Connection, guest: Guest, message: Open, end: StreamEnd
    ) -> ResumableEnd:
        """Answer OPENED: the stream can be resumed until it is over, or has waited HELD_FOR."""
        key = (guest.fingerprint, message.id)
        stream = ResumableEnd(message.id, end, lambda stream: self._changed(key, stream))
        earlier = self._streams.pop(key, None)
        if earlier is not None:
            earlier.give_up(Code.CLOSED)
        self._streams[key] = stream
        connection.accept(end, Opened(resumable=True))
        return stream

    def resume(self, connection: Connection, guest: Guest, message: Resume, end: StreamEnd) -> None:
        """Go on with a stream of this guest's on `connection`; what carried it before is ended.

        Raises RefusedError for a stream that is not there (any more), or for an attempt older
        than another; RemoteProtocolError for an offset that cannot be.
        """
        stream = self._streams.get((guest.fingerprint, message.id))
        if stream is None:
            raise RefusedError(Code.LOST, "the stream has ended meanwhile")
        if message.generation <= stream.generation:
            raise RefusedError(Code.LOST, "the stream went on elsewhere")
        stream.require(message.offset)
        stream.generation = message.generation
        before = stream.attachment.connection
        stream.detach()
        if before is not connection:
            before.abort("its stream went on in another connection")
        self._timers.pop((guest.fingerprint, message.id)).cancel()
        connection.accept(end, Resume(message.id, message.generation, stream.received))
        stream.attach(end, message.offset)

    def end_all(self, guest: Guest | None = None) -> None:
        """Nothing goes on, of `guest`, who was removed, or of anybody."""
        for key, stream in list(self._streams.items()):
            if guest is None or key[0] == guest.fingerprint:
                stream.give_up(Code.CLOSED)

    def _changed(self, key: Key, stream: ResumableEnd) -> None:
        if self._streams.get(key) is not stream:
            return
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()
        if stream.phase is Phase.DETACHED:
            loop = asyncio.get_running_loop()
            self._timers[key] = loop.call_later(HELD_FOR, stream.give_up, Code.LOST)
        elif stream.phase is Phase.OVER:
            del self._streams[key]
