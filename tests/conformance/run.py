"""Runs cases through a proxy, several at once; a record of each."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

from tests.conformance.application import Request, Script
from tests.conformance.case import Case
from tests.conformance.proxies import Lane
from tests.conformance.visitor import Outcome, Visitor
from tests.loops import until

SETTLED_WITHIN = 1.0  # seconds that the application may still read after the visitor has gone


@dataclass
class Record:
    """What the visitor got and what the application saw."""

    case: Case
    outcome: Outcome
    seen: list[Request]
    host: bytes


async def run_all(lanes: Sequence[Lane], cases: Sequence[Case], *, warm: bool) -> list[Record]:
    """In the order of `cases`."""
    for lane in lanes:  # the way is there, and somebody is behind it
        await _run(lane, Case("", ()), -1, warm=True)
    left = list(enumerate(cases))[::-1]
    records: dict[int, Record] = {}

    async def work(lane: Lane) -> None:
        while left:
            at, case = left.pop()
            records[at] = await _run(lane, case, at, warm=warm)

    async with asyncio.TaskGroup() as group:
        for lane in lanes:
            group.create_task(work(lane))
    return [records[at] for at in range(len(cases))]


async def _run(lane: Lane, case: Case, number: int, *, warm: bool) -> Record:
    script = lane.application.script = Script(case, number)
    reader, writer = await asyncio.open_connection("127.0.0.1", lane.port, limit=1 << 20)
    outcome = await Visitor(lane.host, number, reader, writer).run(case, warm=warm)
    writer.transport.abort()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(SETTLED_WITHIN):
            await until(lambda: all(request.over for request in script.seen))
    return Record(case, outcome, script.seen, lane.host)
