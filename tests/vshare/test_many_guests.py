"""As many guests as Live Share allows, at the same time."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from tests.loops import run
from tests.share_pair import share_pair, socket_to, tcp_service
from tunnel.client import Client
from tunnel.identity import Role

GUESTS = 30
SIZE = 64 * 1024  # bytes that each sends and gets back


async def exchange(client: Client, port: int, letter: bytes) -> None:
    """What one sends comes back, and nobody else's."""
    loop = asyncio.get_running_loop()
    sock, bridged = await socket_to(client, port)
    with sock:
        await loop.sock_sendall(sock, letter * SIZE)
        left = SIZE
        while left:
            part = await loop.sock_recv(sock, left)
            assert part == letter * len(part)
            left -= len(part)
    await bridged


@pytest.mark.programs
def test_thirty_guests() -> None:
    async def main() -> None:
        async with (
            share_pair() as pair,
            tcp_service() as port,
            contextlib.AsyncExitStack() as stack,
        ):
            clients = [await stack.enter_async_context(pair.client()) for _ in range(GUESTS)]
            async with asyncio.TaskGroup() as group:
                for number, client in enumerate(clients):
                    group.create_task(exchange(client, port, bytes([ord("0") + number])))
            guests = pair.guests.of_role(Role.GUEST)
            assert [guest.connections > 0 for guest in guests] == [True] * GUESTS
            pair.guests.remove(guests[7], "out")
            await exchange(clients[8], port, b"x")

    run(main)
