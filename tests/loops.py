"""Runs a test's coroutine under one or both event loops, warnings and stray tasks included."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable, Coroutine

import pytest
import uvloop

TEST_TIMEOUT = 20.0  # seconds, so that a hang is a failure with a traceback

BOTH = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
Factory = Callable[[], asyncio.AbstractEventLoop]

_connection_lost = asyncio.StreamReaderProtocol.connection_lost


def _lost_and_seen(protocol: asyncio.StreamReaderProtocol, exc: Exception | None) -> None:
    _connection_lost(protocol, exc)
    closed = protocol._closed  # type: ignore[attr-defined]
    if closed.done() and not closed.cancelled():
        closed.exception()


# A protocol of asyncio's streams marks the fault in its own future as seen when it is deleted. As
# part of a cycle the future may be finalised before it, and then the loop tells of an exception
# that was never retrieved: that is the garbage collector's order, and no fault of a test.
asyncio.StreamReaderProtocol.connection_lost = _lost_and_seen  # type: ignore[method-assign, assignment]


def run(
    main: Callable[[], Coroutine[None, None, None]],
    factory: Factory = uvloop.new_event_loop,
) -> None:
    """Run `main()`; an exception in a callback of the loop fails the test as well."""
    faults: list[dict[str, object]] = []

    async def guarded() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: faults.append(context))
        async with asyncio.timeout(TEST_TIMEOUT):
            await main()
        strays = asyncio.all_tasks() - {asyncio.current_task()}
        assert not strays

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(guarded())
    gc.collect()
    assert not faults, faults


def do_in(loop: asyncio.AbstractEventLoop, work: Callable[[], None], within: float) -> None:
    """Have `work` done in a loop of another thread, and wait for that, `within` seconds at most."""
    done = threading.Event()

    def both() -> None:
        try:
            work()
        finally:
            done.set()

    loop.call_soon_threadsafe(both)
    assert done.wait(within)


async def until(holds: Callable[[], object]) -> None:
    """Wait for what nobody announces."""
    while not holds():  # noqa: ASYNC110  # for want of an event to wait for
        await asyncio.sleep(0.001)


both_loops = pytest.mark.parametrize("factory", BOTH.values(), ids=BOTH.keys())
