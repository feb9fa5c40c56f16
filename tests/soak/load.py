"""What a guest's programs do, all at once: `python -m tests.soak.load PLAN` on the guest's host.

PLAN is JSON (see Plan). Writes records to its standard output until it is terminated; then it
begins nothing new, and ends when all that runs has ended.
"""

from __future__ import annotations

import asyncio
import json
import random
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine

import msgspec

from tests.soak import programs, transfers
from tests.soak.records import Record, Result
from tests.soak.transfers import HungError, Job, WrongError
from tests.soak.ways import Way

PROBE_EVERY = 0.2  # seconds between the starts of probes
PROBE_WITHIN = 45.0  # seconds until a probe gives up
DRAIN_WITHIN = 150.0  # seconds for what still runs at the end
LARGEST = 200_000_000  # bytes


class Plan(msgspec.Struct):
    """`socks`, `name`: the proxy and the machine there; `ip`: the static IP, or empty;
    `public`: HOST:PORT of the relay, empty without the URL; `machine`: its name in the URL; `ssh`:
    a command that runs its last argument there; `kinds`: what is done, all if empty."""

    seed: int
    socks: str
    name: str
    ip: str = ""
    public: str = ""
    kinds: list[str] = msgspec.field(default_factory=list)
    largest: int = LARGEST
    machine: str = ""
    ssh: list[str] = msgspec.field(default_factory=list)


class Load:
    """All workers, and the records of what they did."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.ending = asyncio.Event()
        self.ways = [Way("socks", plan.name, plan.socks)]
        if plan.ip:
            self.ways.append(Way("ip", plan.ip))

    def wants(self, kind: str) -> bool:
        return not self.plan.kinds or kind in self.plan.kinds

    def tell(self, record: Record) -> None:
        sys.stdout.write(msgspec.json.encode(record).decode() + "\n")
        sys.stdout.flush()

    async def do(self, kind: str, way: str, job: Job, work: Awaitable[object]) -> None:
        """Run one thing to its end and tell how that was."""
        job.began = time.monotonic()
        result, text = Result.OK, ""
        try:
            await work
        except WrongError as error:
            result, text = Result.WRONG, str(error)
        except HungError as error:
            result, text = Result.HUNG, str(error)
        except (OSError, TimeoutError, EOFError) as error:
            result, text = Result.ERROR, f"{type(error).__name__}: {error}"
        except asyncio.CancelledError:
            self._tell_end(kind, way, job, Result.HUNG, "still running at the end")
            raise
        self._tell_end(kind, way, job, result, text)

    def _tell_end(self, kind: str, way: str, job: Job, result: Result, text: str) -> None:
        record = Record(
            kind=kind,
            way=way,
            began=job.began,
            opened=job.opened,
            ended=time.monotonic(),
            result=result,
            moved=job.moved,
            text=text,
            lost=job.lost,
            repeated=job.repeated,
        )
        self.tell(record)

    async def again(
        self,
        kind: str,
        way: Way,
        number: int,
        work: Callable[[Job], Awaitable[object]],
        apart: float = 0.0,
    ) -> None:
        """A worker: one after the other until the end, begun `apart` seconds from each other."""
        dice = random.Random(f"{self.plan.seed} {kind} {way.name} {number}")
        while not self.ending.is_set():
            job = Job(way, dice, self.ending, self.plan.largest)
            await self.do(kind, way.name, job, work(job))
            rest = job.began + apart - time.monotonic()
            await asyncio.sleep(max(rest, dice.random() * 0.5))

    async def probe(self, way: Way, group: asyncio.TaskGroup) -> None:
        """A new stream each PROBE_EVERY, whatever became of those before."""
        while not self.ending.is_set():
            job = Job(way, random.Random(0), self.ending, 0)
            work = transfers.short(job, within=PROBE_WITHIN)
            group.create_task(self.do("probe", way.name, job, work), name="probe")
            await asyncio.sleep(PROBE_EVERY)

    async def run(self) -> None:
        """Until `ending` is set and all has ended."""
        async with asyncio.TaskGroup() as group:

            def spawn(work: Coroutine[None, None, None]) -> None:
                group.create_task(work, name="worker")

            for way in self.ways:
                if self.wants("probe"):
                    spawn(self.probe(way, group))
                for kind, (work, count) in transfers.WORKS.items():
                    for number in range(count if self.wants(kind) else 0):
                        spawn(self.again(kind, way, number, work))
            for program in programs.wanted(self.plan):
                if self.wants(program.kind):
                    spawn(self.again(program.kind, program.way, 0, program.work, program.apart))


async def main() -> None:
    """The program."""
    load = Load(msgspec.convert(json.loads(sys.argv[1]), Plan))
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, load.ending.set)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(load.run(), name="load")
        await load.ending.wait()
        await asyncio.wait([running], timeout=DRAIN_WITHIN)
        running.cancel()


if __name__ == "__main__":
    asyncio.run(main())
