"""Asks, in the terminal that the share was started in, whether newcomers may come in."""

from __future__ import annotations

import asyncio

from tunnel.console import Console, printable
from tunnel.errors import UsageError
from tunnel.prompt import ask_line
from vshare.approvals import APPROVE_WITHIN, Approvals, Waiting

LOOK_EVERY = 0.5  # seconds; another terminal may have answered, or the newcomer left


async def ask_for_approvals(approvals: Approvals, console: Console) -> None:
    """Run until cancelled. Where there is no terminal, `vshare approve` is left."""
    while True:
        await approvals.changed.wait()
        approvals.changed.clear()
        for waiting in approvals.all():
            if approvals.is_waiting(waiting):
                await _ask(approvals, waiting, console)


async def _ask(approvals: Approvals, waiting: Waiting, console: Console) -> None:
    """Ask about one newcomer, where there is a terminal in front."""
    async with console.questions, asyncio.TaskGroup() as group:
        with console.asking():
            asking = group.create_task(_question(waiting), name="question")
            while approvals.is_waiting(waiting) and not asking.done():
                await asyncio.wait([asking], timeout=LOOK_EVERY)
            asking.cancel()
            await asyncio.wait([asking])
    if asking.cancelled():
        console.detail(f"{waiting.guest} does not wait any more")
        return
    welcome = asking.result()
    if welcome is not None and approvals.is_waiting(waiting):
        approvals.answer(waiting.guest, welcome=welcome)


async def _question(waiting: Waiting) -> bool | None:
    """The sharer's answer; None: no terminal."""
    question = printable(f"Let {waiting.guest} (from {waiting.address}) in? [y/N] ")
    try:
        answer = await ask_line(question, APPROVE_WITHIN)
    except UsageError:
        return None
    return answer.strip().lower() in ("y", "yes")
