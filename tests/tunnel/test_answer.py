from __future__ import annotations

import asyncio
from typing import cast

import pytest

from tests.loops import run, until
from tunnel.answer import answer_of, look_after
from tunnel.codes import Code
from tunnel.ends import Sink
from tunnel.frames import Opened
from tunnel.stream_end import StreamEnd


class FakeConnection:
    """That it is asked and ended is kept; it says nothing by itself."""

    patience = 0.01

    def __init__(self) -> None:
        self.heard_at = asyncio.get_running_loop().time()
        self.pings = 0
        self.aborted = ""

    def ping(self) -> None:
        self.pings += 1

    def abort(self, text: str) -> None:
        self.aborted = text


class FakeEnd:
    def __init__(self) -> None:
        self.connection = FakeConnection()
        self.opened: asyncio.Future[Opened] = asyncio.get_running_loop().create_future()


def wait(end: FakeEnd, within: float, told: list[str]) -> asyncio.Task[object]:
    answer = answer_of(cast(StreamEnd, end), within, lambda: told.append("silent"))
    return asyncio.get_running_loop().create_task(answer)  # awaited by each test


def test_an_answer_ends_the_looking() -> None:
    async def main() -> None:
        end, told = FakeEnd(), list[str]()
        task = wait(end, 1, told)
        await asyncio.sleep(0)
        end.opened.set_result(Opened())
        assert await task == Opened()
        await asyncio.sleep(0.03)  # for what must not happen
        assert (end.connection.pings, end.connection.aborted, told) == (0, "", [])

    run(main)


def test_one_that_is_silent_is_asked_and_then_ended() -> None:
    async def main() -> None:
        end, told = FakeEnd(), list[str]()
        task = wait(end, 60, told)
        await until(lambda: bool(told))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (end.connection.pings, told) == (1, ["silent"])
        assert end.connection.aborted

    run(main)


def test_one_that_lives_and_does_not_answer_has_its_time() -> None:
    async def main() -> None:
        end, told = FakeEnd(), list[str]()
        began = asyncio.get_running_loop().time()
        task = wait(end, 0.05, told)
        await asyncio.sleep(0)
        end.connection.heard_at += 0.001
        with pytest.raises(TimeoutError):
            await task
        assert asyncio.get_running_loop().time() - began > 0.045
        assert (end.connection.pings, end.connection.aborted, told) == (0, "", [])

    run(main)


class Peer(Sink):
    """Keeps what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.codes: list[Code] = []

    def reset(self, code: Code) -> None:
        self.codes.append(code)


class FakeStream(FakeEnd):
    """Of one that is looked after while nobody waits."""

    def __init__(self) -> None:
        super().__init__()
        self.peer = Peer()
        self.codes: list[Code] = []

    def reset(self, code: Code) -> None:
        self.codes.append(code)


@pytest.mark.parametrize("alive", [False, True])
def test_a_stream_that_nobody_waits_for_is_looked_after(alive: bool) -> None:
    async def main() -> None:
        end, told = FakeStream(), list[str]()
        look_after(cast(StreamEnd, end), 0.05, lambda: told.append("silent"))
        if not alive:
            await until(lambda: told)
            assert (end.connection.pings, bool(end.connection.aborted)) == (1, True)
            return
        end.connection.heard_at += 0.001
        await until(end.opened.done)
        await asyncio.sleep(0)
        assert (end.codes, end.peer.codes) == ([Code.TIMED_OUT], [Code.TIMED_OUT])

    run(main)


def test_an_answer_ends_the_looking_after() -> None:
    async def main() -> None:
        end, told = FakeStream(), list[str]()
        look_after(cast(StreamEnd, end), 1, lambda: told.append("silent"))
        end.opened.set_result(Opened())
        await asyncio.sleep(0.03)  # for what must not happen
        assert (end.connection.pings, end.connection.aborted, told) == (0, "", [])
        assert (end.codes, end.peer.codes) == ([], [])

    run(main)
