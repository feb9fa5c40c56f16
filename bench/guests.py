"""Many guests of one share, each joined by itself: `python -m bench.guests [COUNT]`.

Prints one JSON object: what a guest costs the share and the relay, in memory and in CPU time while
nobody does anything, and how long an echo takes one guest alone, and any when all ask at once.
Loopback alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

from bench.byte_server import listen
from bench.ours import BIN, ROOT, after
from bench.processes import Process, cpu_seconds, memory_kb, started
from connect_vm.join_share import join_share
from tunnel.address import ConnectLine, parse_connect_line
from tunnel.client import Client
from tunnel.ends import bridge
from tunnel.names import JoinCode, parse_code
from tunnel.relay_tls import dial_relay
from tunnel.socket_end import SocketEnd

COUNT = 30  # guests: what Live Share allows
IDLE = 20.0  # seconds that they are looked at while nobody does anything
ASKING = 8.0  # seconds of echoes
PAUSE = 0.05  # seconds between echoes of one guest: faster than people type
SETTLE = 3.0  # seconds for pools to fill


class Crowd:
    """Guests who have joined, each with an open stream to the byte server at `port`."""

    def __init__(self, line: ConnectLine, code: JoinCode, port: int) -> None:
        self._line, self._code, self._port = line, code, port
        self._stack = contextlib.AsyncExitStack()
        self._group = asyncio.TaskGroup()
        self._echoes: list[socket.socket] = []

    async def __aenter__(self) -> Crowd:
        await self._stack.enter_async_context(self._group)
        return self

    async def __aexit__(self, *_: object) -> None:
        for sock in self._echoes:
            sock.close()
        await self._stack.aclose()

    async def join(self, name: str) -> None:
        """One more. Raises VshareError."""
        identity = await join_share(self._dial, self._line.name, self._code, name)
        client = Client(self._dial, identity, self._line.name)
        await self._stack.enter_async_context(client)
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.setblocking(False)
        end = await client.open("", self._port)
        self._group.create_task(bridge(end, SocketEnd(theirs)), name=name)
        await asyncio.get_running_loop().sock_sendall(ours, b"e")
        self._echoes.append(ours)

    async def _dial(self) -> socket.socket:
        assert self._line.relay is not None
        return await dial_relay(self._line.relay)

    async def ask(self, count: int) -> list[float]:
        """How long echoes took, in milliseconds, while `count` guests asked; in order."""
        async with asyncio.TaskGroup() as group:
            asking = [group.create_task(_ask(sock)) for sock in self._echoes[:count]]
        return sorted(took for task in asking for took in task.result())


async def _ask(sock: socket.socket) -> list[float]:
    loop, took = asyncio.get_running_loop(), []
    until = loop.time() + ASKING
    while loop.time() < until:
        begin = time.perf_counter()
        await loop.sock_sendall(sock, b"x")
        await loop.sock_recv(sock, 1)
        took.append((time.perf_counter() - begin) * 1000)
        await asyncio.sleep(PAUSE)
    return took


def spread(prefix: str, took: list[float]) -> dict[str, float]:
    """Median and 99th percentile of what is in order."""
    return {
        f"{prefix}_p50_ms": round(statistics.median(took), 2),
        f"{prefix}_p99_ms": round(took[min(len(took) - 1, len(took) * 99 // 100)], 2),
    }


async def measure(programs: dict[str, Process], crowd: Crowd, count: int) -> dict[str, float]:
    """All figures; `programs` are the share and the relay."""
    figures: dict[str, float] = {"guests": count}
    before = {name: memory_kb([program]) for name, program in programs.items()}
    begin = time.monotonic()
    for number in range(count):
        await crowd.join(f"guest-{number}")
    figures["joined_s"] = round(time.monotonic() - begin, 1)
    await asyncio.sleep(SETTLE)
    for name, program in programs.items():
        more = memory_kb([program]) - before[name]
        figures[f"{name}_kb_per_guest"] = round(more / count)
    used = {name: cpu_seconds([program]) for name, program in programs.items()}
    await asyncio.sleep(IDLE)
    for name, program in programs.items():
        percent = (cpu_seconds([program]) - used[name]) / IDLE * 100
        figures[f"{name}_idle_cpu_percent"] = round(percent, 2)
    figures |= spread("alone", await crowd.ask(1))
    figures |= spread("all", await crowd.ask(count))
    return figures


async def main(count: int) -> None:
    """Set up, measure, print."""
    with contextlib.ExitStack() as stack, tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        environment = _environment(folder)
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        threading.Thread(target=listen, args=(listener,), daemon=True).start()
        port = listener.getsockname()[1]
        relay_command = [str(BIN / "vrelay"), "serve", "--listen", "127.0.0.1:0"]
        relay = started(stack, relay_command, folder / "relay", environment)
        command = [str(BIN / "vshare"), "up", "--relay", after(relay, "relay address:"), "--yes"]
        command += ["--target", "127.0.0.1", "--disable-http", "--relay-only", "--port", str(port)]
        share = started(stack, command, folder / "share", environment)
        code = parse_code(after(share, "Code:"))
        line = parse_connect_line(after(share, "Others connect with: vconnect"))
        async with Crowd(line, code, port) as crowd:
            print(json.dumps(await measure({"share": share, "relay": relay}, crowd, count)))


def _environment(folder: Path) -> dict[str, str]:
    for name in ("state", "run"):
        (folder / name).mkdir(mode=0o700)
    return {
        "XDG_STATE_HOME": str(folder / "state"),
        "XDG_RUNTIME_DIR": str(folder / "run"),
        "PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring",
        "PYTHONPATH": str(ROOT),
        "PYTHONSAFEPATH": "1",
    }


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if sys.argv[1:] else COUNT))
