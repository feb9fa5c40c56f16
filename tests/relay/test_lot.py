"""A share's parked connections, with real sockets."""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Coroutine

import pytest

from relay import lot
from relay.lot import MAX_TARGET, START_TARGET, Lot, NoParkedError
from tunnel import parking
from tunnel.parking import HEADER, Message, Paired, Type, serialize

VISITOR = Paired("visitor", "192.0.2.1")
PING, PONG = serialize(Message(Type.PING)), serialize(Message(Type.PONG))


class Yard:
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
        return far, self.lot.add(near)

    async def take(self, *, join: bool = False) -> None:
        """A visitor comes and goes."""
        with await self.lot.take(VISITOR, join=join):
            pass

    async def until_waiting(self, count: int) -> None:
        while len(self.lot._waiting) < count:  # noqa: ASYNC110 - the lot tells nobody
            await asyncio.sleep(0)


def with_yard(test: Callable[[Yard], Coroutine[None, None, None]]) -> None:
    async def main() -> None:
        with contextlib.ExitStack() as stack:
            async with asyncio.timeout(10):
                await test(Yard(stack))

    asyncio.run(main())


async def receive(sock: socket.socket, size: int) -> bytes:
    return await asyncio.get_running_loop().sock_recv(sock, size)


def test_paired_comes_before_anything_of_the_visitors() -> None:
    async def test(yard: Yard) -> None:
        yard.lot.fill()
        far, released = yard.park()
        sock = await yard.lot.take(VISITOR)
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

    with_yard(test)


def test_it_asks_for_what_is_missing_and_no_more() -> None:
    async def test(yard: Yard) -> None:
        yard.lot.fill()
        yard.lot.fill()
        assert yard.asked == [START_TARGET]
        for _ in range(START_TARGET):
            yard.park()
        assert len(yard.lot) == START_TARGET
        await yard.take()
        assert yard.asked == [START_TARGET, 1]
        yard.lot.missed()
        yard.lot.fill()
        assert yard.asked == [START_TARGET, 1, 1]

    with_yard(test)


def test_shortage_makes_it_want_more_and_calm_fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lot, "TAKE_WITHIN", 0.01)

    async def test(yard: Yard) -> None:
        for _ in range(8):
            with pytest.raises(NoParkedError):
                await yard.take()
        assert sum(yard.asked) == MAX_TARGET
        for _ in range(MAX_TARGET):
            yard.park()
        for _ in range(8):
            yard.lot.calm()
        for _ in range(MAX_TARGET - START_TARGET):
            await yard.take()
        assert sum(yard.asked) == MAX_TARGET
        await yard.take()
        assert sum(yard.asked) == MAX_TARGET + 1

    with_yard(test)


def test_who_waits_gets_what_comes_in_the_order_of_coming() -> None:
    async def test(yard: Yard) -> None:
        order: list[int] = []

        async def visit(number: int) -> None:
            await yard.take()
            order.append(number)

        async with asyncio.TaskGroup() as group:
            for number in range(3):
                group.create_task(visit(number))
            await yard.until_waiting(3)
            for _ in range(3):
                yard.park()
        assert order == [0, 1, 2]

    with_yard(test)


def test_a_turn_that_is_not_taken_goes_to_the_next() -> None:
    async def test(yard: Yard) -> None:
        async with asyncio.TaskGroup() as group:
            first = group.create_task(yard.take())
            second = group.create_task(yard.take())
            await yard.until_waiting(2)
            yard.park()  # the first one's turn ...
            first.cancel()  # ... who has just left
            await second
        assert not len(yard.lot)

    with_yard(test)


def test_a_quarter_is_kept_from_joins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lot, "TAKE_WITHIN", 0.01)

    async def test(yard: Yard) -> None:
        yard.lot.fill()
        for _ in range(START_TARGET):
            yard.park()
        for _ in range(START_TARGET * 3 // 4):
            await yard.take(join=True)
        with pytest.raises(NoParkedError):
            await yard.take(join=True)
        await yard.take()

    with_yard(test)


def test_guests_have_their_turn_before_joins() -> None:
    async def test(yard: Yard) -> None:
        yard.lot.fill()
        order: list[str] = []

        async def visit(*, join: bool) -> None:
            await yard.take(join=join)
            order.append("join" if join else "guest")

        async with asyncio.TaskGroup() as group:
            group.create_task(visit(join=True))
            group.create_task(visit(join=False))
            await yard.until_waiting(2)
            for _ in range(MAX_TARGET):
                yard.park()
        assert order == ["guest", "join"]

    with_yard(test)


def test_only_so_many_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lot, "MAX_WAITING", 2)

    async def test(yard: Yard) -> None:
        async with asyncio.TaskGroup() as group:
            waiting = [group.create_task(yard.take()) for _ in range(2)]
            await yard.until_waiting(2)
            with pytest.raises(NoParkedError, match="too many"):
                await yard.take()
            for task in waiting:
                task.cancel()

    with_yard(test)


@pytest.mark.parametrize("last", [b"", b"x"])
def test_one_that_ended_or_spoke_unnoticed_is_passed_over(last: bytes) -> None:
    async def test(yard: Yard) -> None:
        bad, _ = yard.park()
        good, _ = yard.park()
        if last:
            bad.send(last)
        else:
            bad.close()
        with await yard.lot.take(VISITOR):  # before the loop could see it
            assert await receive(good, 1) == bytes([Type.PAIRED])
        assert not len(yard.lot)

    with_yard(test)


@pytest.mark.parametrize("last", [b"", b"x", PONG])
def test_one_that_ends_or_speaks_is_dropped_and_replaced(last: bytes) -> None:
    async def test(yard: Yard) -> None:
        yard.lot.fill()
        far, released = yard.park()
        if last:
            far.send(last)
        else:
            far.close()
        await released.wait()
        assert not len(yard.lot)
        assert yard.asked == [START_TARGET, 1]

    with_yard(test)


def test_pings_are_answered_or_it_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parking, "PING_EVERY", 0.01)
    monkeypatch.setattr(parking, "PONG_WITHIN", 0.1)

    async def test(yard: Yard) -> None:
        far, released = yard.park()
        for _ in range(3):
            assert await receive(far, 100) == PING
            for byte in PONG:
                far.send(bytes([byte]))
                await asyncio.sleep(0)
        assert not released.is_set()
        assert await receive(far, 100) == PING
        await released.wait()
        assert await receive(far, 100) == b""

    with_yard(test)


def test_never_paired_while_a_pong_is_outstanding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parking, "PING_EVERY", 0.01)
    monkeypatch.setattr(lot, "TAKE_WITHIN", 0.05)

    async def test(yard: Yard) -> None:
        far, released = yard.park()
        assert await receive(far, 100) == PING
        with pytest.raises(NoParkedError):
            await yard.take()
        assert not released.is_set()

    with_yard(test)


def test_closed() -> None:
    async def test(yard: Yard) -> None:
        far, released = yard.park()
        yard.lot.close()
        assert released.is_set()
        assert await receive(far, 1) == b""
        late, released = yard.park()
        assert released.is_set()
        assert await receive(late, 1) == b""
        yard.lot.fill()
        assert yard.asked == []
        with pytest.raises(NoParkedError):
            await yard.take()

    with_yard(test)
