import asyncio
import contextlib
import logging
import select
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from relay.handover import FILE, HELLO, READY, HandoverError, Successors, predecessor
from relay.listening import Listening
from tests.loops import run, until

PLACE = ("127.0.0.1", 0)


class Old:
    """A relay that can be taken over from, as far as this goes."""

    def __init__(self, folder: Path) -> None:
        self.listening = Listening()
        self.stood_back: list[bool] = []
        self.successors = Successors(folder, self.listening, self.stand_back)

    def stand_back(self) -> None:
        self.stood_back.append(True)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[socket.socket]:
        with self.listening.at(*PLACE) as sock:
            async with self.successors.waiting():
                yield sock


def test_the_sockets_are_the_same_and_nobody_is_lost(tmp_path: Path) -> None:
    async def main() -> None:
        old = Old(tmp_path)
        async with old.running() as sock, predecessor(tmp_path) as before:
            assert before is not None
            place = sock.getsockname()
            with socket.create_connection(place) as early:  # nobody has accepted it
                assert not old.stood_back
                with before.listening.at(*PLACE) as mine:
                    assert mine.getsockname() == place
                    await before.stand_back()
                    assert len(old.stood_back) == 1
                    sock.close()
                    await before.serving()
                    await old.successors.taken.wait()
                    accepted, name = await asyncio.get_running_loop().sock_accept(mine)
                    accepted.close()
                    assert name == early.getsockname()
        assert not (tmp_path / FILE).exists()

    run(main)


def test_who_hangs_up_before_it_is_ready_changes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        old = Old(tmp_path)
        async with old.running():
            async with predecessor(tmp_path) as before:
                assert before is not None
            await until(lambda: "did not take over" in caplog.text)
            with socket.socket(socket.AF_UNIX) as sock:
                sock.connect(str(tmp_path / FILE))
                sock.send(HELLO.replace(b"1", b"2"))
                await until(lambda: "another version" in caplog.text)
            async with predecessor(tmp_path) as before:  # it still waits for one
                assert before is not None
                await before.stand_back()
            assert len(old.stood_back) == 1

    with caplog.at_level(logging.WARNING):
        run(main)


def test_who_says_something_else_than_that_it_is_ready_changes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        old = Old(tmp_path)
        async with old.running():
            with socket.socket(socket.AF_UNIX) as sock:
                sock.connect(str(tmp_path / FILE))
                sock.send(HELLO)
                sock.send(b"?" * len(READY))
                await until(lambda: "before it was ready" in caplog.text)
            assert not old.stood_back

    with caplog.at_level(logging.WARNING):
        run(main)


def test_where_no_relay_runs_there_is_none(tmp_path: Path) -> None:
    async def main() -> None:
        async with predecessor(tmp_path) as before:
            assert before is None
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(str(tmp_path / FILE))  # of one that was killed
        async with predecessor(tmp_path) as before:
            assert before is None
        old = Old(tmp_path)
        async with old.running(), predecessor(tmp_path) as before:
            assert before is not None

    run(main)


def test_a_relay_that_hands_nothing_over(tmp_path: Path) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(tmp_path / FILE))
            listener.listen()
            listener.setblocking(False)

            async def answer(data: bytes) -> None:
                sock, _ = await loop.sock_accept(listener)
                with sock:
                    await loop.sock_recv(sock, 100)
                    await loop.sock_sendall(sock, data)

            for data in (b"", b"no", b"{}", b'{"places": [["a", 1]]}'):
                async with asyncio.TaskGroup() as group:
                    group.create_task(answer(data))
                    with pytest.raises(HandoverError, match="hands nothing over"):
                        async with predecessor(tmp_path):
                            pass

    run(main)


def test_a_relay_that_fails_to_stand_back_still_leaves_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its doors may be closed by then."""

    def fails() -> None:
        raise RuntimeError("a fault")

    async def main() -> None:
        old = Old(tmp_path)
        old.successors = Successors(tmp_path, old.listening, fails)
        async with old.running(), predecessor(tmp_path) as before:
            assert before is not None
            await before.stand_back()
            await before.serving()
            await old.successors.taken.wait()

    run(main)
    assert "a fault" in caplog.text


def test_a_fault_before_it_stands_back_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        old = Old(tmp_path)
        async with old.running():
            with monkeypatch.context() as patch:
                patch.setattr("relay.handover.json.dumps", lambda _: 1 / 0)
                with pytest.raises(HandoverError):
                    async with predecessor(tmp_path):
                        pass
            assert not old.successors.taken.is_set()
            assert not old.stood_back
            async with predecessor(tmp_path) as before:  # it still waits for one
                assert before is not None
                await before.stand_back()
            assert len(old.stood_back) == 1

    run(main)
    assert "ZeroDivisionError" in caplog.text


def test_who_ends_as_soon_as_it_is_ready_changes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        old = Old(tmp_path)
        async with old.running():
            with socket.socket(socket.AF_UNIX) as sock:
                sock.connect(str(tmp_path / FILE))
                sock.sendall(HELLO)
                await until(lambda: bool(select.select([sock], [], [], 0)[0]))
                sock.recv(4096)
                sock.sendall(READY)
            await until(lambda: "when it was ready" in caplog.text)
            assert not old.stood_back
            assert not old.successors.taken.is_set()

    run(main)
