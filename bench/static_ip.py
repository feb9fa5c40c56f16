"""The static IP's path against the bare NIC of a VM of the same kind, in one run, interleaved.

`python -m bench.static_ip [ROUNDS]`, as root: two connect VMs in a network namespace of our own,
which nothing leaves. In the first runs the agent; vconnect's side of it is either a stand-in
of blocking sockets (`agent`) or AgentLink (`vconnect`), with a server of bytes on this host in
the share's place. In the second, started from the same image without nft, the same server
listens itself (`bare NIC`).

`ab -c 200` is `burst`, whose slowest connection shows whether a SYN had to be sent again (1 s).
"""

from __future__ import annotations

import asyncio
import marshal
import os
import select
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import MAGIC_NUMBER
from ipaddress import IPv4Address, IPv4Network
from multiprocessing import get_context
from pathlib import Path

import uvloop

from bench import byte_server
from bench.connect_vm_boot import GIVE_UP, INSIDE, POLL, cpu_seconds, machine
from connect_vm import cpio
from connect_vm.addresses import Addresses
from connect_vm.agent import wire
from connect_vm.agent_link import PARKED, AgentLink
from connect_vm.images import AGENT_PORT, Image, find_image, stage
from tunnel.ends import End
from tunnel.flows import Flow, FlowReceiver
from tunnel.socket_end import SocketEnd

Row = tuple[str, str, str, list[float]]  # figure, system, unit, values

SECRET = bytes(32)
SECONDS = 3.0  # of one transfer
OPENS = 60  # connections, one after another, in one round
BURST = 200  # connections at once
AGENT_MAIN = "agent/__main__.pyc"  # what the image's start.py runs
Address = tuple[str, int]


def _addresses(third: int) -> Addresses:
    host, static, control = (IPv4Address(f"172.16.{third}.{n}") for n in (1, 2, 3))
    return Addresses(IPv4Network(f"172.16.{third}.0/29"), host, static, control)


AGENT, BARE = _addresses(0), _addresses(1)


def compiled(path: Path) -> bytes:
    """The bytecode file of a source that the image's Python, 3.11 too, runs without it."""
    code = compile(path.read_bytes(), path.name, "exec", dont_inherit=True, optimize=2)
    unchecked_hash = (1).to_bytes(4, "little") + bytes(8)  # PEP 552
    return MAGIC_NUMBER + unchecked_hash + marshal.dumps(code)


@contextmanager
def running_vm(
    image: Image, addresses: Addresses, tap: str, overlay: list[cpio.Entry]
) -> Iterator[subprocess.Popen[bytes]]:
    """A connect VM, its initramfs overlaid, ready."""
    with tempfile.TemporaryDirectory() as folder:
        initramfs = stage(Path(folder), image, addresses, SECRET)
        with initramfs.open("ab") as file:
            file.write(cpio.archive(overlay))
        console = Path(folder, "console")
        console.touch()
        process = machine(image.kernel, initramfs, image.command_line, console, tap)
        try:
            began = time.monotonic()
            while not _accepts((str(addresses.control), AGENT_PORT)):
                if time.monotonic() - began > GIVE_UP:
                    raise TimeoutError(console.read_text(errors="replace")[-2000:])
                time.sleep(POLL)
            yield process
        finally:
            process.kill()
            process.wait()


def _accepts(address: Address) -> bool:
    try:
        socket.create_connection(address, timeout=1).close()
    except OSError:
        return False
    return True


def _nic_modules() -> bytes:
    names = "virtio_ring virtio_pci_modern_dev virtio_pci_legacy_dev virtio virtio_pci failover"
    return "".join(f"{name}.ko\n" for name in f"{names} net_failover virtio_net".split()).encode()


def _experiment() -> list[cpio.Entry]:
    """$EXPERIMENT: a folder with the agent's sources, run in the image's place."""
    folder = os.environ.get("EXPERIMENT")
    sources = sorted(Path(folder).glob("*.py")) if folder else []
    return [cpio.regular(f"agent/{path.stem}.pyc", compiled(path)) for path in sources]


class _Direct:
    """The session in the real AgentLink's place: a server of bytes on this host is the share."""

    def __init__(self, server: Address) -> None:
        self._server = server

    async def open(self, host: str, port: int) -> End:
        """See Opener."""
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().sock_connect(sock, self._server)
        return SocketEnd(sock)

    async def open_flow(self, host: str, port: int, receiver: FlowReceiver) -> Flow:
        """See Opener. No datagrams are measured here."""
        raise NotImplementedError


def _real_vconnect(server: Address) -> None:
    """AgentLink until killed."""

    async def run() -> None:
        async with AgentLink(str(AGENT.control), AGENT_PORT, SECRET, _Direct(server)) as link:
            await link.ready(GIVE_UP)
            await asyncio.Event().wait()

    uvloop.install()
    asyncio.run(run())


def _stand_in(_server: Address) -> None:
    """As little as the agent needs: blocking sockets, each parked connection a thread."""
    for _ in range(PARKED):
        threading.Thread(target=_park_for_ever).start()


def _park_for_ever() -> None:
    while True:
        sock = _proven(wire.PARKED)
        if len(sock.recv(wire.HEADER_SIZE, socket.MSG_WAITALL)) == wire.HEADER_SIZE:
            sock.sendall(bytes([wire.OPENED]))
            threading.Thread(target=byte_server.serve, args=(sock,), daemon=True).start()


def _proven(kind: bytes) -> socket.socket:
    sock = socket.create_connection((str(AGENT.control), AGENT_PORT))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    nonce_a = sock.recv(wire.NONCE_SIZE, socket.MSG_WAITALL)
    sock.sendall(wire.answer(SECRET, nonce_a, bytes(wire.NONCE_SIZE), kind))
    sock.recv(wire.MAC_SIZE, socket.MSG_WAITALL)
    return sock


@contextmanager
def _vconnect(target: Callable[[Address], None], server: Address) -> Iterator[None]:
    """A process with vconnect's side of the agent; it parks before this returns, or soon."""
    process = get_context("spawn").Process(target=target, args=(server,), daemon=True)
    process.start()
    try:
        _opened((str(AGENT.static), 80)).close()
        yield
    finally:
        process.kill()
        process.join()


def _opened(address: Address) -> socket.socket:
    sock = socket.create_connection(address, timeout=30)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def up(address: Address, moved: list[int]) -> None:
    """Send for SECONDS; all of it has arrived when this returns."""
    chunk = bytes(byte_server.CHUNK)
    with _opened(address) as sock:
        sock.sendall(b"u")
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            sock.sendall(chunk)
            moved.append(len(chunk))
        sock.shutdown(socket.SHUT_WR)
        if sock.recv(1) != b".":
            raise ConnectionError("the upload did not arrive")


def down(address: Address, moved: list[int]) -> None:
    """Receive for SECONDS."""
    buffer = bytearray(byte_server.CHUNK)
    with _opened(address) as sock:
        sock.sendall(b"d")
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            moved.append(sock.recv_into(buffer))


def transfer(
    how: Callable[[Address, list[int]], None], address: Address, streams: int, pid: int
) -> tuple[float, float]:
    """MB/s, and QEMU's CPU seconds per GB."""
    moved: list[int] = []
    threads = [threading.Thread(target=how, args=(address, moved)) for _ in range(streams)]
    used, began = cpu_seconds(pid), time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    total = sum(moved)
    return total / (time.monotonic() - began) / 1e6, (cpu_seconds(pid) - used) / (total / 1e9)


def open_times(address: Address) -> list[float]:
    """Milliseconds for a connection, a byte there and back, and the close, one after another."""
    took = []
    for _ in range(OPENS):
        began = time.monotonic()
        with _opened(address) as sock:
            sock.sendall(b"ex")
            sock.recv(1)
        took.append((time.monotonic() - began) * 1e3)
    return took


def burst(address: Address) -> float:
    """Milliseconds until the last of BURST connections at once is made and echoed a byte."""
    waits = select.epoll()
    began = time.monotonic()
    with ExitStack() as stack:
        stack.callback(waits.close)
        opening: dict[int, socket.socket] = {}
        for _ in range(BURST):
            sock = stack.enter_context(socket.socket())
            sock.setblocking(False)
            sock.connect_ex(address)
            waits.register(sock, select.EPOLLOUT)
            opening[sock.fileno()] = sock
        while opening:
            for fd, events in waits.poll(30):
                if events & select.EPOLLOUT:
                    opening[fd].send(b"ex")
                    waits.modify(fd, select.EPOLLIN)
                elif opening[fd].recv(1):
                    waits.unregister(fd)
                    del opening[fd]
    return (time.monotonic() - began) * 1e3


def measure(rounds: int) -> list[Row]:
    """All figures; needs the network that `in_a_namespace` makes."""
    rows: dict[tuple[str, str, str], list[float]] = {}

    def note(figure: str, system: str, unit: str, *values: float) -> None:
        rows.setdefault((figure, system, unit), []).extend(values)

    image = find_image()
    source = compiled(Path(byte_server.__file__))
    bare_overlay = [
        cpio.regular("etc/modules", _nic_modules()),
        cpio.regular(AGENT_MAIN, source),
    ]
    listener = socket.create_server(("127.0.0.1", 0), backlog=byte_server.BACKLOG)
    threading.Thread(target=byte_server.listen, args=(listener,), daemon=True).start()
    server = listener.getsockname()
    with ExitStack() as stack:
        bare = stack.enter_context(running_vm(image, BARE, "tap1", bare_overlay))
        agent = stack.enter_context(running_vm(image, AGENT, "tap0", _experiment()))
        systems = {
            "bare NIC": (bare.pid, (str(BARE.control), AGENT_PORT), None),
            "agent": (agent.pid, (str(AGENT.static), 80), _stand_in),
            "vconnect": (agent.pid, (str(AGENT.static), 80), _real_vconnect),
        }
        for _ in range(rounds):
            for system, (pid, address, target) in systems.items():
                with ExitStack() as one:
                    if target:
                        one.enter_context(_vconnect(target, server))
                    for name, how, streams in (("up", up, 1), ("down", down, 1), ("x4", down, 4)):
                        speed, cpu = transfer(how, address, streams, pid)
                        note(f"static_ip_{name}", system, "MB/s", speed)
                        note(f"static_ip_{name}_cpu", system, "s/GB", cpu)
                    note("static_ip_open", system, "ms", *open_times(address))
                    if target:
                        note("static_ip_burst", system, "ms", burst(address))
    return [(*key, values) for key, values in rows.items()]


def show(rows: list[Row]) -> None:
    """The medians, and each path's fraction of the bare NIC."""
    medians = {(figure, system): statistics.median(v) for figure, system, _, v in rows}
    for figure, system, unit, values in sorted(rows):
        line = f"{figure:20} {system:9} {medians[figure, system]:9.2f} {unit:5}"
        line += f" ({min(values):.2f} to {max(values):.2f})"
        bare = medians.get((figure, "bare NIC"))
        print(line, f"{medians[figure, system] / bare:.2f} of bare" if bare else "")
    print("load", *os.getloadavg())


def in_a_namespace(module: str, taps: dict[str, Addresses]) -> None:
    """Run `module` again in a network namespace, or make its taps when this is that run."""
    if INSIDE not in sys.argv:
        inside = [sys.executable, "-m", module, INSIDE, *sys.argv[1:]]
        sys.exit(subprocess.run(["unshare", "--net", *inside]).returncode)
    commands = ["link set lo up"]
    for tap, addresses in taps.items():
        commands += [
            f"tuntap add {tap} mode tap",
            f"address add {addresses.host}/{addresses.network.prefixlen} dev {tap}",
            f"link set {tap} up",
        ]
    for command in commands:
        subprocess.run(["ip", *command.split()], check=True)


def main() -> None:
    """Measure in a network namespace of our own."""
    in_a_namespace("bench.static_ip", {"tap0": AGENT, "tap1": BARE})
    show(measure(int((sys.argv[2:] or ["3"])[0])))


if __name__ == "__main__":
    main()
