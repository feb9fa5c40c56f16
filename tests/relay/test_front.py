from __future__ import annotations

import asyncio
import socket

import pytest

from relay.front import BACKLOG, Front
from relay.limits import Admission, budget_for
from relay.routes import Sites
from tests.loops import BOTH, Factory, run


@pytest.mark.parametrize("factory", BOTH.values(), ids=BOTH)
def test_one_that_was_accepted_in_the_last_moment_is_closed(factory: Factory) -> None:
    """The relay ends before the connection's task has begun."""

    async def main() -> None:
        with (
            socket.create_server(("127.0.0.1", 0), backlog=BACKLOG) as listener,
            socket.create_connection(listener.getsockname()) as visitor,
        ):
            listener.setblocking(False)
            front = Front(listener, Admission(budget_for(1024)), Sites("example.org", ""), {})
            async with asyncio.TaskGroup() as group:
                front._accept(group)
                (task,) = [each for each in asyncio.all_tasks() if "visitor" in each.get_name()]
                task.cancel()
            visitor.settimeout(5)
            assert visitor.recv(1) == b""

    run(main, factory)


def test_one_that_comes_while_the_relay_ends_is_closed() -> None:
    async def main() -> None:
        with (
            socket.create_server(("127.0.0.1", 0), backlog=BACKLOG) as listener,
            socket.create_connection(listener.getsockname()) as visitor,
        ):
            listener.setblocking(False)
            front = Front(listener, Admission(budget_for(1024)), Sites("example.org", ""), {})
            async with asyncio.TaskGroup() as group:
                pass
            front._accept(group)
            visitor.settimeout(5)
            assert visitor.recv(1) == b""

    run(main)
