"""From a visitor's stream to the machine's port, which is opened for who is let in."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from tests.loops import run, until
from tests.vshare.web.requests import request
from tests.vshare.web.test_stage import GET, OK, Keeper
from tunnel.codes import Code
from tunnel.ends import End, bridge
from tunnel.errors import RefusedError, VshareError
from tunnel.http_heads import RequestHead
from vshare.policy import Target
from vshare.reach_direct import DirectReach
from vshare.web.access import RequestRule
from vshare.web.rules import Reply, Rule
from vshare.web.sites import Site, Sites
from vshare.web.stage import Stage
from vshare.web.visits import Visits

SITE = Site("", 8000)


class Closed(RequestRule):
    """Lets nobody in."""

    def request(self, head: RequestHead) -> Reply | None:
        return Reply(401, "Unauthorized")


class Reach(DirectReach):
    """Gives `machines` one after another, when `ready`; an error in place of one is raised."""

    def __init__(self, *machines: Keeper | VshareError) -> None:
        super().__init__("127.0.0.1")
        self.left = list(machines)
        self.asked: list[int] = []
        self.ready = asyncio.Event()
        self.ready.set()

    async def open_tcp(self, host: str, port: int) -> End:
        self.asked.append(port)
        await self.ready.wait()
        machine = self.left.pop(0)
        if isinstance(machine, VshareError):
            raise machine
        return machine


class Visit:
    """A stream of a visitor's, carried as the share does it."""

    def __init__(self, reach: Reach, rules: Sequence[Rule] = ()) -> None:
        self.visitor, self.reach = Keeper(), reach
        self.visits = Visits(Sites(SITE), lambda _: rules)
        self.stage: Stage = self.visits.stage(SITE, self.visitor)
        self.error: VshareError | None = None

    async def carry(self) -> None:
        target = Target("", 8000, is_ssh=False)
        machine, self.error = await self.visits.open(SITE, target, self.reach, self.stage)
        await bridge(self.stage, machine)


def started(group: asyncio.TaskGroup, visit: Visit) -> asyncio.Task[None]:
    return group.create_task(visit.carry())


def test_the_first_request_opens_the_way() -> None:
    async def main() -> None:
        machine = Keeper()
        visit = Visit(Reach(machine))
        async with asyncio.TaskGroup() as group:
            started(group, visit)
            await asyncio.sleep(0)
            assert not visit.reach.asked
            visit.visitor.peer.send(GET[:10])
            await asyncio.sleep(0)
            assert not visit.reach.asked
            visit.visitor.peer.send(GET[10:])
            await until(lambda: machine.sent == GET)
            machine.peer.send(OK)
            visit.visitor.peer.send(GET)
            assert machine.sent == GET + GET
            assert visit.visitor.sent == OK
            assert visit.reach.asked == [8000]
            visit.visitor.closed(None)
            machine.closed(None)

    run(main)


def test_what_comes_while_the_way_is_opened_is_kept_in_order() -> None:
    async def main() -> None:
        machine = Keeper()
        visit = Visit(Reach(machine))
        visit.reach.ready.clear()
        async with asyncio.TaskGroup() as group:
            started(group, visit)
            await asyncio.sleep(0)
            visit.visitor.peer.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabc")
            assert bool(visit.visitor.paused) is True
            visit.visitor.peer.send(b"def")  # was read already
            visit.visitor.peer.send_eof()
            await until(lambda: visit.reach.asked)
            visit.reach.ready.set()
            await until(lambda: machine.eof)
            assert machine.sent.endswith(b"abcdef")
            assert bool(visit.visitor.paused) is False
            visit.visitor.closed(None)
            machine.closed(None)

    run(main)


def test_who_is_not_let_in_does_not_touch_the_machine() -> None:
    async def main() -> None:
        visit = Visit(Reach(), [Closed()])
        async with asyncio.TaskGroup() as group:
            started(group, visit)
            await asyncio.sleep(0)
            visit.visitor.peer.send(GET)
            assert visit.visitor.sent.startswith(b"HTTP/1.1 401 ")
            assert visit.visitor.eof
            visit.visitor.closed(None)
        assert not visit.reach.asked
        assert visit.error is None

    run(main)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (RefusedError(Code.CONNECTION_REFUSED, "192.168.121.5 port 8000: refused"), b"502"),
        (RefusedError(Code.TIMED_OUT, "no answer"), b"504"),
        (VshareError("the machine is off"), b"502"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_server_that_does_not_answer(error: VshareError, status: bytes, method: str) -> None:
    async def main() -> None:
        visit = Visit(Reach(error))
        async with asyncio.TaskGroup() as group:
            started(group, visit)
            await asyncio.sleep(0)
            visit.visitor.peer.send(request(method=method).serialize())
            await until(lambda: visit.visitor.eof)
            assert visit.visitor.sent.startswith(b"HTTP/1.1 " + status)
            assert (b"Port 8000" in visit.visitor.sent) is (method == "GET")
            visit.visitor.closed(None)
        assert visit.error is error

    run(main)


@pytest.mark.parametrize("begin", [b"", GET[:10], GET])
def test_a_visitor_who_goes(begin: bytes) -> None:
    async def main() -> None:
        machine = Keeper()
        visit = Visit(Reach(machine))
        visit.reach.ready.clear()
        async with asyncio.TaskGroup() as group:
            started(group, visit)
            await asyncio.sleep(0)
            if begin:
                visit.visitor.peer.send(begin)
            await asyncio.sleep(0)
            visit.visitor.peer.reset(Code.LOST)
            visit.visitor.closed(Code.LOST)
            visit.reach.ready.set()
        assert not machine.sent
        assert machine.code == (Code.CLOSED if begin == GET else None)

    run(main)


def test_a_visitor_who_says_nothing_and_ends() -> None:
    async def main() -> None:
        visit = Visit(Reach())
        async with asyncio.TaskGroup() as group:
            started(group, visit)
            await asyncio.sleep(0)
            visit.visitor.peer.send_eof()
            assert visit.visitor.eof
            visit.visitor.closed(None)
        assert not visit.reach.asked

    run(main)
