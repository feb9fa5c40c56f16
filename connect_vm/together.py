"""Working together, as one `vconnect` does it: local ports, the share's news, other terminals."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping

from connect_vm.following import Following
from connect_vm.handlers import Handlers
from connect_vm.local_ports import LocalPorts
from connect_vm.running import connection_socket
from connect_vm.share_news import ShareNews
from connect_vm.terminal_session import terminal_session
from tunnel.client import Client
from tunnel.console import Console
from tunnel.errors import VshareError
from tunnel.names import ShareName

FIRST_WITHIN = 3.0  # seconds for the share's first news; it goes on without them


@contextlib.asynccontextmanager
async def together(
    client: Client,
    name: ShareName,
    console: Console,
    maps: Mapping[int, int],
    *,
    automatic: bool,
) -> AsyncIterator[Following]:
    """All of it, once the share has said what there is. Raises UsageError: a port of `maps`, local
    ports by the machine's, is taken."""
    me = client.hello.guest if client.hello is not None else ""
    async with LocalPorts(client, maps, automatic=automatic) as ports, asyncio.TaskGroup() as group:
        news = ShareNews(ports, console, me)
        following = Following(client, news.told)
        task = group.create_task(following.run(), name="the share's news")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FIRST_WITHIN):
                await following.is_known.wait()
        async with contextlib.AsyncExitStack() as stack:
            try:
                table = Handlers(ports, news).table()
                made = connection_socket(name, table, terminal_session(client))
                label = await stack.enter_async_context(made)
                if label != name:
                    console.detail(f"Other terminals know this connection as {label}")
            except VshareError as error:
                console.warn(f"other terminals cannot talk to this connection: {error.text}")
            yield following
        task.cancel()
