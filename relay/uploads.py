"""The body of a request under way to a share: counted, and passed on as it came (RFC 9112 6, 7).

What is not plain in a body in chunks (extensions, trailers, very many of them) is h11's from there
on. Either way what the share gets is one body of one length, which ends where the visitor's does.
"""

from __future__ import annotations

import asyncio
import re
from typing import cast

import h11

from relay.http_events import BodyEvents
from relay.http_rules import has_body, header, trailers
from relay.plain_bodies import ChunkedBody
from relay.streams import UpstreamStream, VisitorStream
from tunnel.http_bodies import LengthBody

BODY_SILENCE = 120.0  # seconds that a request's body may pause

# What a chunk's first line, or the end behind the last one, may begin with.
_BEGIN = re.compile(rb"[0-9A-Fa-f]{0,8}+\r?|0{1,8}+\r\n\r?")
_FRAMING = re.compile(rb"^(?:content-length|transfer-encoding):[^\n]*\n", re.I | re.M)
# Stands for the head of a request whose body is between two chunks.
_CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


def without_framing(head: bytes) -> bytes:
    """The same request without a body, of a head that `strict_heads.check_head` has passed."""
    return _FRAMING.sub(b"", head)


class Upload:
    """The body, perhaps empty, of `request`, whose framing is one that was checked; `rest` has come
    behind its head."""

    def __init__(self, request: h11.Request, rest: bytes) -> None:
        self.rest = rest  # what is not sent yet, and then what is behind the body
        self.is_whole = not has_body(request)  # and all of it was sent
        self._body: LengthBody | ChunkedBody
        if header(request, b"transfer-encoding") is not None:
            self._body = ChunkedBody()
        else:
            self._body = LengthBody(int(header(request, b"content-length") or b"0"))

    def take(self) -> bytes:
        """What has come of the body, if that is plain; to be sent."""
        size = self._body.take(self.rest)
        taken, self.rest = self.rest[:size], self.rest[size:]
        self.is_whole = self._body.is_whole
        return taken

    async def send(self, source: VisitorStream, target: UpstreamStream) -> None:
        """Pass the rest on. Raises LostError, TimeoutError, RemoteProtocolError, and
        h11.ProtocolError."""
        data = self.rest
        while True:
            size = self._body.take(data)
            if size:
                await target.send_all(data if size == len(data) else data[:size])
            data = data[size:]
            if self._body.is_whole:
                break
            if not _BEGIN.fullmatch(data):
                await self._send_oddly(data, source, target)
                return
            async with asyncio.timeout(BODY_SILENCE):
                more = await source.receive_some()
            if not more:
                raise h11.RemoteProtocolError("it ended in the middle")
            data = data + more if data else more
        self.rest, self.is_whole = data, True

    async def _send_oddly(self, data: bytes, source: VisitorStream, target: UpstreamStream) -> None:
        """As `send`, of chunks that begin with `data`, through h11."""
        reader, writer = h11.Connection(h11.SERVER), h11.Connection(h11.CLIENT)
        reader.receive_data(_CHUNKED)
        writer.send(cast(h11.Event, reader.next_event()))  # which was sent before
        reader.receive_data(data)
        body = BodyEvents(reader, source)
        while True:
            async with asyncio.timeout(BODY_SILENCE):
                event = await body.next_event()
            if isinstance(event, h11.EndOfMessage):
                event = h11.EndOfMessage(headers=trailers(event))
            elif not isinstance(event, h11.Data):
                raise h11.RemoteProtocolError("it ended in the middle")
            await target.send_all(writer.send(event) or b"")
            if isinstance(event, h11.EndOfMessage):
                break
        self.rest, self.is_whole = reader.trailing_data[0], True
