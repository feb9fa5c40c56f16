import asyncio
import socket
from pathlib import Path

import pytest

from relay.service_notify import keep_watchdog, tell_manager
from tests.loops import run


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    monkeypatch.chdir(tmp_path)
    sock.bind("notify")
    sock.settimeout(5)
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    return sock


def test_the_manager_is_told(manager: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    with manager:
        tell_manager("READY=1", "MAINPID=5")
        assert manager.recv(100) == b"READY=1\nMAINPID=5"

        async def main() -> None:
            await keep_watchdog()  # nobody asks for it
            monkeypatch.setenv("WATCHDOG_USEC", "20000")
            async with asyncio.TaskGroup() as group:
                task = group.create_task(keep_watchdog())
                for _ in range(2):
                    assert await asyncio.to_thread(manager.recv, 100) == b"WATCHDOG=1"
                task.cancel()

        run(main)
    tell_manager("STOPPING=1")  # it has gone
    monkeypatch.delenv("NOTIFY_SOCKET")
    tell_manager("STOPPING=1")
