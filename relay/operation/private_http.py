"""A small HTTP server for the operator's own programs, on an address of its own: answers GET, one
request to a connection. What it shows is never on the relay's public port."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus

MAX_HEAD = 8 * 1024  # bytes; a scraper's is some 500
HEAD_WITHIN = 5.0  # seconds
ANSWER_WITHIN = 10.0  # seconds: as long as Prometheus waits for a scrape by default
AT_ONCE = 16  # connections; a monitoring system has one or two

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Page:
    """An answer."""

    status: HTTPStatus
    media_type: str
    body: bytes


Look = Callable[[], Awaitable[Page]]
_TEXT = "text/plain; charset=utf-8"


class PrivateHttp:
    """Serves `pages`, by path, on a socket that listens; the caller closes that."""

    def __init__(self, listener: socket.socket, pages: Mapping[str, Look]) -> None:
        self._listener, self._pages = listener, pages
        self._open: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Serve until cancelled."""
        server = await asyncio.start_server(self._serve, sock=self._listener, limit=MAX_HEAD)
        try:
            await server.serve_forever()
        finally:
            server.close()
            for task in self._open:
                task.cancel()
            if self._open:
                await asyncio.wait(self._open)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            if len(self._open) <= AT_ONCE:
                async with asyncio.timeout(HEAD_WITHIN + ANSWER_WITHIN):
                    await self._converse(reader, writer)
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # whoever it was has gone, or speaks no HTTP
        except Exception:
            log.exception("a look at the relay failed: this is a bug")
        finally:
            self._open.discard(task)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(HEAD_WITHIN):
            head = await reader.readuntil(b"\r\n\r\n")
        method, _, rest = head.partition(b"\r\n")[0].decode("latin-1").partition(" ")
        page = await self._page(method, rest.partition(" ")[0].partition("?")[0])
        lines = (
            f"HTTP/1.1 {page.status} {page.status.phrase}",
            f"Content-Type: {page.media_type}",
            f"Content-Length: {len(page.body)}",
            "Cache-Control: no-store",
            "X-Content-Type-Options: nosniff",
            "Connection: close",
        )
        body = b"" if method == "HEAD" else page.body
        writer.write("\r\n".join((*lines, "", "")).encode() + body)
        await writer.drain()

    async def _page(self, method: str, path: str) -> Page:
        if method not in ("GET", "HEAD"):
            return Page(HTTPStatus.METHOD_NOT_ALLOWED, _TEXT, b"GET and HEAD are answered here\n")
        look = self._pages.get(path)
        if look is None:
            there = "".join(f"{each}\n" for each in self._pages)
            return Page(HTTPStatus.NOT_FOUND, _TEXT, f"there are:\n{there}".encode())
        return await look()
