"""A browser in front of the dashboard, as far as tests need one."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import msgspec
from websockets.asyncio.client import ClientConnection, connect

from tests.vshare.dashboard.small_share import SmallShare
from tunnel.http_heads import AnswerHead, maybe_answer
from vshare.dashboard.server import Dashboard


@dataclass
class Answer:
    head: AnswerHead
    body: bytes

    @property
    def status(self) -> int:
        return self.head.status

    def json(self) -> dict[str, object]:
        decoded: dict[str, object] = msgspec.json.decode(self.body)
        return decoded

    def header(self, name: str) -> str:
        return (self.head.value(name.encode()) or b"").decode()


@dataclass
class Browser:
    """`path` is the page's; `cookie` what it was given."""

    port: int
    path: str
    cookie: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def ask(
        self, target: str = "", method: str = "GET", body: bytes = b"", **changed: str
    ) -> Answer:
        """`target` is below the page, unless it begins with a slash. An empty header is left
        out."""
        headers = {"Host": f"127.0.0.1:{self.port}", "Cookie": self.cookie, "Connection": "close"}
        if method == "POST":
            headers["Origin"] = self.origin
            headers["Content-Length"] = str(len(body))
        headers |= {name.replace("_", "-"): value for name, value in changed.items()}
        path = target if target.startswith("/") else self.path + target
        lines = [f"{name}: {value}\r\n" for name, value in headers.items() if value]
        request = f"{method} {path} HTTP/1.1\r\n{''.join(lines)}\r\n".encode() + body
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(request)
            data = await reader.read()
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
        found = maybe_answer(data)
        assert found is not None, data
        return Answer(found[0], data[found[1] :])

    async def command(self, **command: object) -> Answer:
        return await self.ask("api/command", "POST", msgspec.json.encode(command))

    @contextlib.asynccontextmanager
    async def look(self, **changed: str) -> AsyncIterator[ClientConnection]:
        """The page's WebSocket."""
        headers = {"Cookie": self.cookie} | changed
        async with connect(
            f"ws://127.0.0.1:{self.port}{self.path}ws",
            origin=headers.pop("Origin", self.origin),  # type: ignore[arg-type]
            additional_headers=headers,
            proxy=None,
        ) as socket:
            yield socket


async def enter(dashboard: Dashboard, url: str = "") -> Browser:
    """Follow the link."""
    parts = urlsplit(url or dashboard.url)
    browser = Browser(parts.port or 80, parts.path)
    answer = await browser.ask(f"?{parts.query}")
    assert answer.status == 303, answer
    browser.cookie = answer.header("set-cookie").partition(";")[0]
    return browser


@contextlib.asynccontextmanager
async def opened() -> AsyncIterator[tuple[SmallShare, Browser]]:
    share = SmallShare()
    async with Dashboard(share.parts) as dashboard:
        yield share, await enter(dashboard)
