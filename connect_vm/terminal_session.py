"""A terminal of the share for `vconnect terminal` beside a `vconnect` that runs: as its guest."""

from __future__ import annotations

import asyncio

from connect_vm import requests
from connect_vm.terminal_link import StreamLink
from connect_vm.terminal_stream import open_terminal
from tunnel.client import Client
from tunnel.control_socket import Session, Talk, session
from tunnel.errors import LostError, RefusedError, VshareError
from tunnel.requests import Request

READ = 64 * 1024  # bytes at once


def terminal_session(client: Client) -> dict[type[Request], Session]:
    """For the control socket."""

    async def hold(request: requests.Terminal, talk: Talk) -> None:
        await carry(client, request.name, talk)

    return dict([session(requests.Terminal, hold)])


async def carry(client: Client, name: str, talk: Talk) -> None:
    """Messages both ways, unread, until either side ends, or this program does. Raises VshareError
    for what cannot be had; its exit code is TRY_AGAIN where that may pass."""
    try:
        link = StreamLink(await open_terminal(client, name))
    except RefusedError:
        raise
    except VshareError as error:
        error.exit_code = requests.TRY_AGAIN
        raise
    try:
        await talk.answer(requests.Joined())
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(_show(link, talk), name="terminal's screen"),
                group.create_task(_type(link, talk), name="terminal's keys"),
                group.create_task(_closed(talk), name="terminal's end"),
            ]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                task.cancel()
    finally:
        link.close()


async def _show(link: StreamLink, talk: Talk) -> None:
    try:
        while True:
            await talk.send(await link.receive())
    except (LostError, OSError):
        return


async def _type(link: StreamLink, talk: Talk) -> None:
    try:
        while data := await talk.reader.read(READ):
            link.write(data)
            await link.drain()
    except (LostError, OSError):
        return


async def _closed(talk: Talk) -> None:
    await talk.closing.wait()
