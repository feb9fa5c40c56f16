"""A relay that hands over while it has no descriptors left."""

from __future__ import annotations

import asyncio
import errno
import socket
from pathlib import Path

import pytest

from relay import handover
from relay.handover import Successors, predecessor
from relay.listening import Listening
from tests.loops import run, until


def test_it_waits_on_while_there_are_no_descriptors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handover, "PAUSE", 0.0)

    async def main() -> None:
        loop, failures = asyncio.get_running_loop(), 3
        accept = loop.sock_accept

        async def full(listener: socket.socket) -> tuple[socket.socket, object]:
            nonlocal failures
            if failures:
                failures -= 1
                raise OSError(errno.EMFILE, "Too many open files")
            return await accept(listener)

        monkeypatch.setattr(Successors, "_accept", lambda _, listener: full(listener))
        with Listening() as listening, listening.at("127.0.0.1", 0) as sock:
            successors = Successors(tmp_path, listening, lambda: None)
            async with successors.waiting():
                assert (tmp_path / handover.FILE).stat().st_mode & 0o777 == 0o600
                async with predecessor(tmp_path) as found:
                    assert found is not None
                    await found.stand_back()
                    [(_, theirs)] = found.listening._inherited
                    assert theirs.getsockname() == sock.getsockname()
                    await found.serving()
                await until(successors.taken.is_set)
        assert not failures

    run(main)
