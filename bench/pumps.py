"""The pumps by themselves: client end, relay's splice and share end as three processes on loopback.

`python -m bench.pumps [--tree DIR]... [--rounds N]`. Several trees (of this repository) take
turns, so that they can be compared: medians, the least and the most. CPU seconds per GB are the
three processes' own; the figures' names are those of docs/performance.md. Without vshare, vconnect
and the relay's front, so that a change of tunnel/ shows up alone.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import NamedTuple

GB = 1e9
CHUNK = 1 << 20
GIVE_UP = 60.0  # seconds that a transfer may take
INSIDE = "--inside"  # said by this program to itself, in the tree that is measured
ROLES = ("client", "relay", "share")


# -- the three processes


def _listener() -> socket.socket:
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    listener.setblocking(False)
    return listener


async def _serve(
    listener: socket.socket, handle: Callable[[socket.socket], Awaitable[object]]
) -> None:
    loop = asyncio.get_running_loop()
    async with asyncio.TaskGroup() as group:
        while True:
            sock, _ = await loop.sock_accept(listener)

            async def one(sock: socket.socket = sock) -> None:
                with contextlib.suppress(OSError):
                    await handle(sock)

            group.create_task(one())


async def _connected(port: int) -> socket.socket:
    from tunnel.dialler import dial

    return await dial("127.0.0.1", port, 5)


def _inside(target: int) -> None:
    """Fork the roles; print the port of the client's end and the processes' ids; wait."""
    import uvloop

    from tests.tls_pair import HELLO, identities
    from tunnel.connection import Connection
    from tunnel.dialler import tune
    from tunnel.ends import bridge
    from tunnel.frames import ALPN, Open
    from tunnel.identity import client_context, server_context
    from tunnel.socket_end import SocketEnd
    from tunnel.splice import splice_sockets
    from tunnel.tls_socket import handshake

    guest, share = identities()
    listeners = {role: _listener() for role in ROLES}
    ports = {role: listener.getsockname()[1] for role, listener in listeners.items()}

    def ignore(connection: Connection) -> None:
        pass

    async def client(sock: socket.socket) -> None:
        tune(sock)
        context = client_context(guest, ALPN)
        tls = await handshake(await _connected(ports["relay"]), context, server_hostname="x.x")
        connection = Connection(tls, is_client=True, on_change=ignore)
        await connection.hello
        end = connection.open(Open(os.urandom(16), "tcp", "", target))
        await asyncio.shield(end.opened)
        await bridge(end, SocketEnd(sock))
        connection.retire()

    async def relay(sock: socket.socket) -> None:
        tune(sock)
        await splice_sockets(sock, await _connected(ports["share"]))

    async def serve(sock: socket.socket) -> None:
        connection = Connection(
            await handshake(sock, server_context(share, ALPN)), is_client=False, on_change=ignore
        )
        connection.send_hello(HELLO)
        _, end = await connection.next_open()
        local = await _connected(target)
        connection.accept(end)
        await bridge(end, SocketEnd(local))

    handlers = {"client": client, "relay": relay, "share": serve}
    pids = {}
    for role in ROLES:
        pids[role] = os.fork()
        if pids[role] == 0:
            uvloop.run(_serve(listeners[role], handlers[role]))
            os._exit(0)
    print(ports["client"], *pids.values(), flush=True)
    sys.stdin.read()  # ends with whoever started this
    for pid in pids.values():
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


class Rig(NamedTuple):
    """A tree's three processes, running."""

    port: int
    pids: dict[str, int]

    def cpu(self) -> dict[str, float]:
        """Seconds of CPU that each process has used so far."""
        return {
            role: int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9
            for role, pid in self.pids.items()
        }


@contextlib.contextmanager
def rig(tree: str, target: int) -> Iterator[Rig]:
    """Start the processes of `tree`, which lead to port `target`."""
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).resolve()), INSIDE, str(target)],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": tree},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        port, *pids = map(int, process.stdout.readline().split())
        yield Rig(port, dict(zip(ROLES, pids, strict=True)))
    finally:
        process.communicate(timeout=10)


# -- the far program, and what is measured


def _far_program(listener: socket.socket) -> None:
    """Does what a connection's first byte says: S sink, G source, E echo."""
    while True:
        sock, _ = listener.accept()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=_serve_one, args=(sock,), daemon=True).start()


def _serve_one(sock: socket.socket) -> None:
    with sock, contextlib.suppress(OSError):
        what, data = sock.recv(1), bytes(CHUNK)
        if what == b"S":
            _drop(sock)
            sock.send(b"!")
        elif what == b"E":
            while part := sock.recv(4096):
                sock.sendall(part)
        else:
            while True:
                sock.sendall(data)


def _drop(sock: socket.socket, size: int | None = None) -> int:
    """Receive and let the kernel throw away (tcp(7), MSG_TRUNC) up to `size` bytes."""
    taken = 0
    while size is None or taken < size:
        part = sock.recv_into(_NOWHERE, CHUNK, socket.MSG_TRUNC)
        if not part:
            break
        taken += part
    return taken


_NOWHERE = bytearray(CHUNK)


def _dial(port: int, what: bytes) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port), GIVE_UP)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.sendall(what)
    return sock


Figures = dict[str, float]


def measure_stream(rig: Rig, size: int, *, down: bool) -> Figures:
    """MB/s and CPU s/GB of one stream."""
    with _dial(rig.port, b"G" if down else b"S") as sock:
        if down:
            _drop(sock, 8 * CHUNK)  # the handshake is over and TCP's windows are open
        else:
            sock.sendall(bytes(8 * CHUNK))
        before, began, data = rig.cpu(), time.perf_counter(), bytes(CHUNK)
        if down:
            moved = _drop(sock, size)
        else:
            moved = 0
            while moved < size:
                sock.sendall(data)
                moved += CHUNK
            sock.shutdown(socket.SHUT_WR)
            sock.recv(1)
        took = time.perf_counter() - began
        after = rig.cpu()
    used = {role: (after[role] - before[role]) / moved * GB for role in ROLES}
    way = "down" if down else "up"
    return {
        f"stream_{way} MB/s": moved / took / 1e6,
        f"{way} ends s/GB": used["client"] + used["share"],
        f"{way} relay s/GB": used["relay"],
    }


def ping(port: int, count: int) -> tuple[float, float]:
    """Microseconds of a round trip of one byte: median and 99th percentile."""
    with _dial(port, b"E") as sock:
        took = []
        for number in range(count + 50):
            began = time.perf_counter()
            sock.send(b"x")
            sock.recv(1)
            if number >= 50:
                took.append((time.perf_counter() - began) * 1e6)
    took.sort()
    return statistics.median(took), took[len(took) * 99 // 100]


def measure_rtt(rig: Rig) -> Figures:
    """Round trips on a stream of which nobody else is."""
    before = rig.cpu()
    half, most = ping(rig.port, 3000)
    after = rig.cpu()
    cpu = {role: (after[role] - before[role]) / 3050 * 1e6 for role in ROLES}
    return {
        "rtt_p50 us": half,
        "rtt_p99 us": most,
        "rtt ends cpu us": cpu["client"] + cpu["share"],
        "rtt relay cpu us": cpu["relay"],
    }


def measure_loaded(rig: Rig) -> Figures:
    """Round trips beside a download at full speed."""
    with _dial(rig.port, b"G") as sock:
        _drop(sock, 8 * CHUNK)
        with _child(lambda: _drop(sock)):  # a process: threads would wait for each other
            before, began = _received(sock), time.perf_counter()
            half, most = ping(rig.port, 1500)
            speed = (_received(sock) - before) / (time.perf_counter() - began) / 1e6
    return {"loaded_p50 us": half, "loaded_p99 us": most, "loaded MB/s": speed}


def _received(sock: socket.socket) -> int:
    """Bytes that came so far: tcpi_bytes_received of struct tcp_info (tcp(7))."""
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 192)
    return int.from_bytes(info[128:136], "little")


@contextlib.contextmanager
def _child(work: Callable[[], object]) -> Iterator[None]:
    pid = os.fork()
    if pid == 0:
        work()
        os._exit(0)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def measure(rig: Rig, size: int, only: str) -> Figures:
    """Every figure, once."""
    figures: Figures = {}
    if "s" in only:
        figures |= measure_stream(rig, size, down=False)
        figures |= measure_stream(rig, size, down=True)
    if "r" in only:
        figures |= measure_rtt(rig)
    if "l" in only:
        figures |= measure_loaded(rig)
    return figures


def _cell(runs: dict[str, list[Figures]], tree: str, name: str) -> str:
    """Median, least and most, and the median of the rounds' ratios to the first tree."""
    values = [figures[name] for figures in runs[tree]]
    first = [figures[name] for figures in next(iter(runs.values()))]
    ratio = statistics.median(a / b for a, b in zip(values, first, strict=True))
    return f"{statistics.median(values):.4g} ({min(values):.4g}-{max(values):.4g}) x{ratio:.3f}"


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(prog="python -m bench.pumps", description=__doc__)
    here = str(Path(__file__).resolve().parent.parent)
    parser.add_argument("--tree", action="append", metavar="DIR", help="default: this one")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--size", type=float, default=0.3, help="GB per transfer")
    parser.add_argument("--only", default="srl", help="s streams, r round trip, l under load")
    arguments = parser.parse_args()
    trees = arguments.tree or [here]
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    target = listener.getsockname()[1]
    runs: dict[str, list[Figures]] = {tree: [] for tree in trees}
    with _child(lambda: _far_program(listener)), contextlib.ExitStack() as stack:
        rigs = {tree: stack.enter_context(rig(tree, target)) for tree in trees}
        for _ in range(arguments.rounds):
            for tree in trees:
                runs[tree].append(measure(rigs[tree], int(arguments.size * GB), arguments.only))
    print(f"{'':20}" + "".join(f"{tree[-28:]:>38}" for tree in trees))
    for name in runs[trees[0]][0]:
        print(f"{name:20}" + "".join(f"{_cell(runs, tree, name):>38}" for tree in trees))
    return 0


if __name__ == "__main__":
    if sys.argv[1:2] == [INSIDE]:
        _inside(int(sys.argv[2]))
    else:
        sys.exit(main())
