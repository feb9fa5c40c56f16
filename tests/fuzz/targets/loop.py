"""One event loop for all inputs: making one for each would cost more than the parser."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from tests.fuzz.target import BrokenInvariantError

T = TypeVar("T")


class _Kept:
    loop: asyncio.AbstractEventLoop | None = None
    faults: list[str] = []  # noqa: RUF012  # one per process, like the loop


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run `main` to its end; a fault in a callback, or a task left behind, breaks a rule."""
    if _Kept.loop is None:
        _Kept.loop = asyncio.new_event_loop()
        _Kept.loop.set_exception_handler(
            lambda _, context: _Kept.faults.append(
                f"{context.get('message')}: {type(context.get('exception')).__name__}"
            )
        )
    try:
        found = _Kept.loop.run_until_complete(main)
        strays = asyncio.all_tasks(_Kept.loop)
        if strays:
            for task in strays:
                task.cancel()
            _Kept.loop.run_until_complete(asyncio.sleep(0))
            raise BrokenInvariantError("a task is left behind")
        if _Kept.faults:
            raise BrokenInvariantError(f"fault in a callback: {_Kept.faults[0]}")
        return found
    finally:
        _Kept.faults.clear()


def close() -> None:
    """Give the loop up; `run` makes another."""
    if _Kept.loop is not None:
        _Kept.loop.close()
        _Kept.loop = None


async def settle(turns: int = 3) -> None:
    """Let the callbacks run that are due."""
    for _ in range(turns):
        await asyncio.sleep(0)
