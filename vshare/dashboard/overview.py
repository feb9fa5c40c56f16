"""What the page shows beside requests: the share, its guests, its streams, what happened."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping

import msgspec

from tunnel.control_socket import HANDLING_LASTS, Handler
from tunnel.errors import VshareError
from vshare import requests
from vshare.dashboard.figures import MAX_STREAMS, Figures, StreamRow
from vshare.news import News, Newsroom

LOOK_EVERY = 1.0  # seconds
QUIET = 0.2  # seconds without a look after each, however much happens
LOOK_SHARE = 50  # a look that takes long is followed by so many times as long without one
MAX_NEWS = 100

_log = logging.getLogger("vshare.dashboard")


class Told(msgspec.Struct, frozen=True):
    """One of the news."""

    number: int
    time: float
    kind: str
    text: str
    warning: bool


class _View(msgspec.Struct, frozen=True):
    """`state` and `guests` are as the control socket gives them."""

    state: object
    guests: object
    streams: list[StreamRow]


class Overview:
    """Is looked at once a second while somebody looks, and when something has happened.

    `table` is what the control socket is given.
    """

    def __init__(
        self, table: Mapping[type[requests.Request], Handler], newsroom: Newsroom, figures: Figures
    ) -> None:
        self._table, self._newsroom, self._figures = table, newsroom, figures
        self._news: deque[Told] = deque(maxlen=MAX_NEWS)
        self._happened = asyncio.Event()
        self.view = msgspec.Raw(b"null")  # as JSON
        self.version = 0  # of the view
        self.told = 0  # the number of the last of the news

    async def ask(self, request: requests.Request) -> object:
        """Its answer, as another terminal gets it. Raises VshareError."""
        handler = self._table.get(type(request))
        if handler is None:
            raise VshareError("this share cannot do that", "see what it was started with")
        try:
            async with asyncio.timeout(HANDLING_LASTS):
                return await handler(request)
        except TimeoutError:
            raise VshareError(
                "that takes too long", "the terminal of `vshare up` may say why"
            ) from None

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Write down the news while this is entered."""
        unsubscribe = self._newsroom.subscribe(self._tell)
        try:
            yield
        finally:
            unsubscribe()

    def _tell(self, news: News) -> None:
        text = news.text
        if news.kind == "refused":
            text = "{guest}: {protocol} port {port} was refused, {reason}".format_map(news.fields)
        if text:
            self.told += 1
            self._news.append(Told(self.told, time.time(), news.kind, text, news.warning))
            self.hurry()

    def news_since(self, number: int) -> list[Told]:
        """What was told after the first `number`, as far as it is kept."""
        wanted = min(self.told - number, len(self._news))
        return list(self._news)[-wanted:] if wanted > 0 else []

    def hurry(self) -> None:
        """Do not wait until the next look is due."""
        self._happened.set()

    async def run(self, is_wanted: Callable[[], bool]) -> None:
        """Look until cancelled, while it is wanted."""
        while True:
            self._happened.clear()
            began = time.monotonic()
            if is_wanted():
                try:
                    await self._look()
                except Exception:
                    _log.exception("the share could not be looked at")  # nor does it end by that
            await asyncio.sleep(max(QUIET, LOOK_SHARE * (time.monotonic() - began)))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY - QUIET):
                    await self._happened.wait()

    async def _look(self) -> None:
        state, guests = await self.ask(requests.Status()), await self.ask(requests.Guests())
        streams = list(self._figures.open_streams(MAX_STREAMS))
        view = msgspec.json.encode(_View(state, guests, streams))
        if view != bytes(self.view):
            self.view = msgspec.Raw(view)
            self.version += 1
