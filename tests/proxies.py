"""Little proxies on loopback that do what they are told, for tests of what goes through them."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable

from tests.loops import until

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

AUTH = "Basic Ym9iOnNlc2FtZQ=="  # bob:sesame
USER, PASSWORD = "bob", "sesame"


@contextlib.asynccontextmanager
async def serving(handle: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """A TCP or TLS server on loopback; gives its port. What it still serves is cancelled."""
    tasks: set[asyncio.Task[object]] = set()

    async def guarded(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            if tls is not None:
                await writer.start_tls(tls)
            await handle(reader, writer)
        except (OSError, EOFError, asyncio.CancelledError):
            pass
        finally:
            tasks.discard(task)
            writer.transport.abort()

    server = await asyncio.start_server(guarded, "127.0.0.1", 0)
    async with server:
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()
            for task in list(tasks):
                task.cancel()
            await until(lambda: not tasks)
            await asyncio.sleep(0)  # transports close their sockets in the next round


def answers(data: bytes, *, eof: bool = True) -> Handler:
    """Reads one head, says `data`, and hangs up (or, without `eof`, falls silent)."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(data)
        await writer.drain()
        if not eof:
            await reader.read()

    return handle


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.write_eof()


async def _join(
    near: tuple[asyncio.StreamReader, asyncio.StreamWriter], host: str, port: int
) -> None:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(_pump(near[0], writer))
            group.create_task(_pump(reader, near[1]))
    finally:
        writer.transport.abort()


class HttpProxy:
    """CONNECT, to loopback whatever the host; `asked` are the targets. `auth`: Basic, if any."""

    def __init__(self, auth: str = "") -> None:
        self.auth = auth
        self.asked: list[str] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        method, target, _ = head.splitlines()[0].split(" ")
        assert method == "CONNECT"
        if self.auth and f"proxy-authorization: {self.auth}".lower() not in head.lower():
            writer.write(
                b"HTTP/1.1 407 Proxy Authentication Required\r\n"
                b'Proxy-Authenticate: Basic realm="x"\r\n\r\n'
            )
            await writer.drain()
            return
        self.asked.append(target)
        writer.write(b"HTTP/1.0 200 Connection established\r\nProxy-agent: test\r\n\r\n")
        await _join((reader, writer), "127.0.0.1", int(target.rpartition(":")[2]))


class SocksProxy:
    """SOCKS5 (RFC 1928), to loopback whatever the host. `reply`: the code that it says."""

    def __init__(self, *, auth: bool = False, reply: int = 0) -> None:
        self.auth, self.reply = auth, reply
        self.asked: list[str] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _, count = await reader.readexactly(2)
        methods = await reader.readexactly(count)
        wanted = 2 if self.auth else 0
        writer.write(bytes([5, wanted if wanted in methods else 0xFF]))
        if wanted not in methods:
            await writer.drain()
            return
        if self.auth:
            await reader.readexactly(1)
            words = [await self._field(reader) for _ in range(2)]
            good = words == [USER.encode(), PASSWORD.encode()]
            writer.write(b"\1\0" if good else b"\1\1")
            if not good:
                await writer.drain()
                return
        host, port = await self._target(reader)
        self.asked.append(f"{host}:{port}")
        writer.write(b"\5" + bytes([self.reply]) + b"\0\1\0\0\0\0\0\0")
        if not self.reply:
            await _join((reader, writer), "127.0.0.1", port)
        await writer.drain()

    async def _field(self, reader: asyncio.StreamReader) -> bytes:
        return await reader.readexactly((await reader.readexactly(1))[0])

    async def _target(self, reader: asyncio.StreamReader) -> tuple[str, int]:
        kind = (await reader.readexactly(4))[3]
        if kind == 3:
            host = (await self._field(reader)).decode()
        else:
            host = str(ipaddress.ip_address(await reader.readexactly(4 if kind == 1 else 16)))
        return host, struct.unpack("!H", await reader.readexactly(2))[0]
