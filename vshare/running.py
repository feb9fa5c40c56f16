"""The shares of this user that run on this host, and what tells terminals what happens in one."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping

from tunnel.control_socket import NO_SESSIONS, ControlSocket, Handler, Session, Talk, session
from tunnel.names import ShareName, parse_name
from tunnel.running import Kind, Running, all_running, choose
from vshare.news import News, Newsroom
from vshare.requests import Follow, Following, Request, parse, serialize_news

MAX_QUEUED = 256  # lines for a follower that does not read: it is cut off then

SHARES = Kind(
    "share",
    "vshare",
    "vshare up",
    ".sock",
    parse_name,
    "`vshare status` shows it, `vshare stop` ends it",
)

_log = logging.getLogger(__name__)


def running_shares() -> list[Running]:
    """Every share that answers, by name. The sockets of those that were killed are passed over."""
    return all_running(SHARES)


def choose_share(name: str | None) -> Running:
    """The share called `name`, or the only one. Raises VshareError that says which there are."""
    return choose(SHARES, name)


def share_socket(
    name: ShareName,
    handlers: Mapping[type[Request], Handler],
    newsroom: Newsroom,
    sessions: Mapping[type[Request], Session] = NO_SESSIONS,
) -> ControlSocket:
    """The control socket of a share, with `follow` besides `handlers` and `sessions`."""

    async def follow(request: Follow, talk: Talk) -> None:
        follower = _Follower(talk)
        unsubscribe = newsroom.subscribe(follower.told)
        try:
            await talk.answer(Following())
            await follower.run()
        finally:
            unsubscribe()

    return ControlSocket(
        SHARES, name, parse, handlers, {**sessions, **dict([session(Follow, follow)])}
    )


class _Follower:
    """One terminal that follows the news."""

    def __init__(self, talk: Talk) -> None:
        self._talk = talk
        self._lines: asyncio.Queue[bytes | None] = asyncio.Queue(MAX_QUEUED)
        self._cut_off = asyncio.Event()

    def told(self, news: News) -> None:
        """A listener of the newsroom's."""
        self._put(serialize_news(news))

    def _put(self, line: bytes | None) -> None:
        try:
            self._lines.put_nowait(line)
        except asyncio.QueueFull:
            self._cut_off.set()

    async def run(self) -> None:
        """Send lines until the share ends, the terminal hangs up, or it is too slow."""
        async with asyncio.TaskGroup() as group:
            end = group.create_task(self._end(), name="end")
            tasks = [
                group.create_task(self._send_lines(), name="news"),
                group.create_task(self._talk.hung_up(), name="hang-up"),
                group.create_task(self._too_slow(), name="slowness"),
            ]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in (end, *tasks):
                task.cancel()

    async def _end(self) -> None:
        """When the share ends, what was told before is still sent."""
        await self._talk.closing.wait()
        self._put(None)

    async def _send_lines(self) -> None:
        with contextlib.suppress(OSError):  # it hung up
            while (line := await self._lines.get()) is not None:
                await self._talk.send(line)

    async def _too_slow(self) -> None:
        await self._cut_off.wait()
        _log.warning("a terminal that follows does not read: cut off")
