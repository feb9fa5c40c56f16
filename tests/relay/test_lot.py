"""A share's parked connections, with real sockets."""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Coroutine

import pytest

from relay import lot, yard
from relay.lot import MAX_TARGET, START_TARGET, Lot, LotClosedError, NoParkedError
from tunnel import parking
from tunnel.parking import HEADER, Message, Paired, Type, serialize

VISITOR = Paired("visitor", "192.0.2.1")
PING, PONG = serialize(Message(Type.PING)), serialize(Message(Type.PONG))


class Scene:
    """A lot, what it asked for, and the shares' ends of what is parked in it."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self._stack = stack
        self.asked: list[int] = []
        self.lot = Lot(self.asked.append)
        stack.callback(self.lot.close)

    def park(self) -> tuple[socket.socket, asyncio.Event]:
        """One more connection: the share's end, and the event of its release."""
        near, far = socket.socketpair()
        for sock in (near, far):
            sock.setblocking(False)
        self._stack.enter_context(far)
        left = asyncio.Event()
        self.lot.add(near, left.set)
        return far, left

    async def take(self, *, join: bool = False) -> None:
        """A visitor comes and goes."""
        with await self.lot.take(VISITOR, join=join):
            pass

    async def until_waiting(self, count: int) -> None:
        while len(self.lot._guests) + len(self.lot._joins) < count:  # noqa: ASYNC110 - the lot tells nobody
            await asyncio.sleep(0)


def with_scene(test: Callable[[Scene], Coroutine[None, None, None]]) -> None:
    async def main() -> None:
        with contextlib.ExitStack() as stack:
            async with asyncio.timeout(10):
                await test(Scene(stack))

    asyncio.run(main())


async def receive(sock: socket.socket, size: int) -> bytes:
    return await asyncio.get_running_loop().sock_recv(sock, size)


def test_paired_comes_before_anything_of_the_visitors() -> None:
    async def test(scene: Scene) -> None:
        scene.lot.fill()
        far, released = scene.park()
        sock = await scene.lot.take(VISITOR)
        with sock:
            assert released.is_set()
            sock.send(b"hello")
            kind, length = parking.parse_header(await receive(far, HEADER))
            assert kind is Type.PAIRED
            assert parking.parse_paired(await receive(far, length)) == VISITOR
            assert await receive(far, 100) == b"hello"
            far.send(b"answer")
            for _ in range(3):  # turns of the loop, in which the lot reads no more of it
                await asyncio.sleep(0)
            assert sock.recv(100) == b"answer"

    with_scene(test)


def test_it_asks_for_what_is_missing_and_no_more() -> None:
    async def test(scene: Scene) -> None:
        scene.lot.fill()
        scene.lot.fill()
        assert scene.asked == [START_TARGET]
        for _ in range(START_TARGET):
            scene.park()
        assert len(scene.lot) == START_TARGET
        await scene.take()
        assert scene.asked == [START_TARGET, 1]
        scene.lot.missed()
        scene.lot.fill()
        assert scene.asked == [START_TARGET, 1, 1]

    with_scene(test)


def test_shortage_makes_it_want_more_and_disuse_fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lot, "TAKE_WITHIN", 0.01)

    async def test(scene: Scene) -> None:
        for _ in range(8):
            with pytest.raises(NoParkedError):
                await scene.take()
        wanted = sum(scene.asked)
        assert MAX_TARGET <= wanted <= MAX_TARGET + 1  # one waited when it was asked last
        parked = [scene.park() for _ in range(wanted)]
        scene.lot.calm()  # what is beyond the target goes; all of it was short a moment ago
        assert len(scene.lot) == MAX_TARGET
        for target in (32, 16, 8, START_TARGET, START_TARGET):
            scene.lot.calm()
            assert len(scene.lot) == target
        left = [far for far, left in parked if not left.is_set()]
        assert left == [far for far, _ in parked[-START_TARGET:]]  # the oldest went first
        assert await receive(parked[0][0], 1) == b""
        assert sum(scene.asked) == wanted

    with_scene(test)


def test_what_is_in_use_is_kept() -> None:
    async def test(scene: Scene) -> None:
        scene.lot._target = 16
        for _ in range(16):
            scene.park()
        scene.lot.calm()
        for _ in range(9):  # more than half at once
            await scene.take()
        for _ in range(9):
            scene.park()
        scene.lot.calm()
        assert len(scene.lot) == 16

    with_scene(test)


def test_a_burst_is_asked_for_at_once() -> None:
    """One round of four trips for all, and none is refused."""

    async def test(scene: Scene) -> None:
        scene.lot.fill()
        async with asyncio.TaskGroup() as group:
            for _ in range(200):
                group.create_task(scene.take())
            await scene.until_waiting(200)
            assert sum(scene.asked) >= 200
            for _ in range(200):
                scene.park()

    with_scene(test)


def test_who_comes_later_does_not_go_first() -> None:
    async def test(scene: Scene) -> None:
        async with asyncio.TaskGroup() as group:
            first = group.create_task(scene.take())
            await scene.until_waiting(1)
            scene.park()
            second = group.create_task(scene.take())
            await first
            await scene.until_waiting(1)
            scene.park()
            await second

    with_scene(test)


def test_who_waits_gets_what_comes_in_the_order_of_coming() -> None:
    async def test(scene: Scene) -> None:
        order: list[int] = []

        async def visit(number: int) -> None:
            await scene.take()
            order.append(number)

        async with asyncio.TaskGroup() as group:
            for number in range(3):
                group.create_task(visit(number))
            await scene.until_waiting(3)
            for _ in range(3):
                scene.park()
        assert order == [0, 1, 2]

    with_scene(test)


def test_who_leaves_just_when_one_comes_costs_nobody_else() -> None:
    async def test(scene: Scene) -> None:
        async with asyncio.TaskGroup() as group:
            first = group.create_task(scene.take())
            second = group.create_task(scene.take())
            await scene.until_waiting(2)
            far, left = scene.park()  # the first one's ...
            first.cancel()  # ... who has just left
            await left.wait()
            scene.park()
            await second
        assert await receive(far, HEADER)  # PAIRED: nobody else may have that connection
        assert not len(scene.lot)

    with_scene(test)


def test_a_quarter_is_kept_from_joins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lot, "TAKE_WITHIN", 0.01)
    monkeypatch.setattr(yard, "TICK", 60.0)  # none is pinged meanwhile, which would be out of reach

    async def test(scene: Scene) -> None:
        scene.lot.fill()
        for _ in range(START_TARGET):
            scene.park()
        for _ in range(START_TARGET * 3 // 4):
            await scene.take(join=True)
        with pytest.raises(NoParkedError):
            await scene.take(join=True)
        await scene.take()

    with_scene(test)


def test_guests_have_their_turn_before_joins() -> None:
    async def test(scene: Scene) -> None:
        scene.lot.fill()
        order: list[str] = []

        async def visit(*, join: bool) -> None:
            await scene.take(join=join)
            order.append("join" if join else "guest")

        async with asyncio.TaskGroup() as group:
            group.create_task(visit(join=True))
            group.create_task(visit(join=False))
            await scene.until_waiting(2)
            for _ in range(MAX_TARGET):
                scene.park()
        assert order == ["guest", "join"]

    with_scene(test)


def test_only_so_many_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lot, "MAX_WAITING", 2)

    async def test(scene: Scene) -> None:
        async with asyncio.TaskGroup() as group:
            waiting = [group.create_task(scene.take()) for _ in range(2)]
            await scene.until_waiting(2)
            with pytest.raises(NoParkedError, match="too many"):
                await scene.take()
            for task in waiting:
                task.cancel()

    with_scene(test)


@pytest.mark.parametrize("last", [b"", b"x"])
def test_one_that_ended_or_spoke_unnoticed_is_passed_over(last: bytes) -> None:
    async def test(scene: Scene) -> None:
        good, _ = scene.park()
        bad, _ = scene.park()  # the newest is taken first
        if last:
            bad.send(last)
        else:
            bad.close()
        with await scene.lot.take(VISITOR):  # before the loop could see it
            assert await receive(good, 1) == bytes([Type.PAIRED])
        assert not len(scene.lot)

    with_scene(test)


@pytest.mark.parametrize("last", [b"", b"x", PONG])
def test_one_that_ends_or_speaks_is_dropped_and_replaced(last: bytes) -> None:
    async def test(scene: Scene) -> None:
        scene.lot.fill()
        far, released = scene.park()
        if last:
            far.send(last)
        else:
            far.close()
        await released.wait()
        assert not len(scene.lot)
        assert scene.asked == [START_TARGET, 1]

    with_scene(test)


def test_pings_are_answered_or_it_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parking, "PING_EVERY", 0.01)
    monkeypatch.setattr(parking, "PONG_WITHIN", 0.1)

    async def test(scene: Scene) -> None:
        far, released = scene.park()
        for _ in range(3):
            assert await receive(far, 100) == PING
            for byte in PONG:
                far.send(bytes([byte]))
                await asyncio.sleep(0)
        assert not released.is_set()
        assert await receive(far, 100) == PING
        await released.wait()
        assert await receive(far, 100) == b""

    with_scene(test)


def test_never_paired_while_a_pong_is_outstanding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parking, "PING_EVERY", 0.01)
    monkeypatch.setattr(lot, "TAKE_WITHIN", 0.05)

    async def test(scene: Scene) -> None:
        far, released = scene.park()
        assert await receive(far, 100) == PING
        with pytest.raises(NoParkedError):
            await scene.take()
        assert not released.is_set()

    with_scene(test)


def test_the_one_heard_of_last_is_taken_first() -> None:
    async def test(scene: Scene) -> None:
        first, _ = scene.park()
        scene.park()
        next(iter(scene.lot._ready)).ping()
        assert await receive(first, 100) == PING
        first.send(PONG)
        while not scene.lot.round_trips:  # noqa: ASYNC110 - the lot tells nobody
            await asyncio.sleep(0)
        await scene.take()
        assert await receive(first, 1) == bytes([Type.PAIRED])

    with_scene(test)


def test_one_that_is_silent_puts_all_of_them_to_the_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yard, "SUSPECT_AFTER", 0.01)

    async def test(scene: Scene) -> None:
        fars = [scene.park()[0] for _ in range(3)]
        next(iter(scene.lot._ready)).ping()
        for far in fars:
            assert await receive(far, 100) == PING
        async with asyncio.TaskGroup() as group:
            visit = group.create_task(scene.take())
            await scene.until_waiting(1)  # nobody is paired with what may be dead
            fars[1].send(PONG)
            await visit
        assert (await receive(fars[1], 1)) == bytes([Type.PAIRED])

    with_scene(test)


def test_who_waits_is_told_when_the_session_ends() -> None:
    async def test(scene: Scene) -> None:
        asyncio.get_running_loop().call_soon(scene.lot.close)
        with pytest.raises(LotClosedError):
            await scene.take()

    with_scene(test)


def test_closed() -> None:
    async def test(scene: Scene) -> None:
        far, released = scene.park()
        scene.lot.close()
        assert released.is_set()
        assert await receive(far, 1) == b""
        late, released = scene.park()
        assert released.is_set()
        assert await receive(late, 1) == b""
        scene.lot.fill()
        assert scene.asked == []
        with pytest.raises(NoParkedError):
            await scene.take()

    with_scene(test)
