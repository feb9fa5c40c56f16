import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from relay.handover import FILE, HELLO, HandoverError, Successors, predecessor
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
