"""The page's WebSocket: what is new, in batches.

Nothing waits in a queue for a page. Each one knows up to where it was told, and asks for what
came after that, when its browser has taken the last message; so a slow one gets less often what
is by then the newest, and costs no memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import time

import msgspec
from starlette.websockets import WebSocket, WebSocketDisconnect

from vshare.dashboard.exchange import Summary
from vshare.dashboard.figures import Sample, Throughput
from vshare.dashboard.overview import Overview, Told
from vshare.dashboard.request_log import RequestLog
from vshare.dashboard.search import Search

BATCH_EVERY = 0.1  # seconds: an eye sees no more, and what changed twice is sent once
MAX_ROWS = 250  # of a batch: more than twice what 1,000 requests a second need
SLICE = 0.005  # seconds of searching at a stretch; the share's streams wait meanwhile
SEND_WITHIN = 30.0  # seconds; a browser that takes nothing for so long is gone, or stopped


class Batch(msgspec.Struct, frozen=True, omit_defaults=True):
    """One message. `oldest`: requests with smaller numbers are not kept any more; `search`: what
    was shown up to now is void, the requests that follow are those which this finds."""

    oldest: int
    search: str | None = None
    requests: list[Summary] = []
    share: msgspec.Raw | None = None
    samples: list[Sample] = []
    news: list[Told] = []


class _Wish(msgspec.Struct, frozen=True):
    """What a page says: show what this finds."""

    search: str


class Page:
    """One browser that looks."""

    def __init__(self, log: RequestLog, overview: Overview, throughput: Throughput) -> None:
        self._log, self._overview, self._throughput = log, overview, throughput
        self._search = Search("")
        self._is_new_search = True
        self._seen = 0  # the log's version, as are the next ones of what they name
        self._oldest = self._view = self._told = self._samples = 0

    async def serve(self, web_socket: WebSocket) -> None:
        """Talk until the browser goes, or says what is no wish."""
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._receive(web_socket), name="page's wishes"),
                group.create_task(self._send(web_socket), name="page"),
            ]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                task.cancel()

    async def _receive(self, web_socket: WebSocket) -> None:
        while (message := await web_socket.receive())["type"] == "websocket.receive":
            try:
                wish = _decoder.decode(message.get("text") or b"")
            except msgspec.DecodeError:
                return
            self.search(wish.search)

    async def _send(self, web_socket: WebSocket) -> None:
        with contextlib.suppress(WebSocketDisconnect, TimeoutError):
            while True:
                batch = await self.next_batch()
                if batch is not None:
                    async with asyncio.timeout(SEND_WITHIN):
                        await web_socket.send_text(_encoder.encode(batch).decode())
                await asyncio.sleep(BATCH_EVERY)

    def search(self, text: str) -> None:
        """Show only what this finds, from the oldest that is kept."""
        self._search, self._is_new_search, self._seen = Search(text), True, 0

    async def next_batch(self) -> Batch | None:
        """What is new since the last one; None: nothing."""
        rows: list[Summary] | None = None
        while rows is None:
            rows = await self._rows()
        log, overview, throughput = self._log, self._overview, self._throughput
        samples, news = throughput.since(self._samples), overview.news_since(self._told)
        has_view = overview.version != self._view
        if not (
            rows or samples or news or has_view or self._is_new_search or self._oldest != log.oldest
        ):
            return None
        search = self._search.text if self._is_new_search else None
        self._is_new_search, self._oldest = False, log.oldest
        self._samples, self._told, self._view = throughput.count, overview.told, overview.version
        return Batch(log.oldest, search, rows, overview.view if has_view else None, samples, news)

    async def _rows(self) -> list[Summary] | None:
        """What is found among what changed; None: another search came meanwhile."""
        rows: list[Summary] = []
        search = self._search
        began = time.monotonic()
        for version, exchange in self._log.changes(self._seen):
            if search.finds(exchange):
                rows.append(exchange.summary())
            self._seen = version
            if len(rows) == MAX_ROWS:
                break
            if time.monotonic() - began > SLICE:
                await asyncio.sleep(0)
                if self._search is not search:
                    return None
                began = time.monotonic()
        return rows


_decoder = msgspec.json.Decoder(_Wish)
_encoder = msgspec.json.Encoder()
