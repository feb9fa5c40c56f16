"""What `vconnect` does with its VM, with plain sockets in place of a session with a share.

`python -m tests.e2e.connect_vm_link` boots the VM, prints one JSON line when the static IP
works, and stays until TERM. Ports of the static IP are those of this host's loopback.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
import time
from pathlib import Path

from connect_vm import vm
from connect_vm.agent_link import AgentLink
from tunnel.codes import Code, code_for_os_error
from tunnel.ends import End
from tunnel.errors import RefusedError
from tunnel.flows import Flow, FlowReceiver
from tunnel.socket_end import SocketEnd

LOOPBACK = "127.0.0.1"


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, receiver: FlowReceiver) -> None:
        self._receiver = receiver

    def datagram_received(self, data: bytes, addr: object) -> None:
        self._receiver.datagram_received(data)

    def error_received(self, exc: Exception) -> None:
        self._receiver.flow_refused(Code.CONNECTION_REFUSED)


class _Flow:
    def __init__(self, transport: asyncio.DatagramTransport) -> None:
        self._transport = transport

    def send(self, data: bytes) -> None:
        self._transport.sendto(data)

    def close(self) -> None:
        self._transport.close()


class LoopbackOpener:
    """An Opener whose shared machine is this host's loopback."""

    async def open(self, host: str, port: int) -> End:
        sock = socket.socket()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            await asyncio.get_running_loop().sock_connect(sock, (LOOPBACK, port))
        except OSError as error:
            sock.close()
            raise RefusedError(code_for_os_error(error), str(error)) from error
        return SocketEnd(sock)

    async def open_flow(self, host: str, port: int, receiver: FlowReceiver) -> Flow:
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: _Datagrams(receiver), remote_addr=(LOOPBACK, port)
        )
        return _Flow(transport)


async def main() -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    began = time.monotonic()
    console = Path(os.environ["CONSOLE"]) if "CONSOLE" in os.environ else None
    wish = vm.Wish(console=console, progress=lambda text: print(text, file=sys.stderr, flush=True))
    async with vm.run(os.environ.get("DRIVER", "libvirt"), wish) as machine:
        booted = time.monotonic()
        link = AgentLink(str(machine.control), machine.port, machine.secret, LoopbackOpener())
        async with link:
            await link.ready(30)
            ready = time.monotonic()
            facts = {
                "static_ip": str(machine.static_ip),
                "control": str(machine.control),
                "boot_s": round(booted - began, 2),
                "link_s": round(ready - booted, 3),
            }
            print(json.dumps(facts), flush=True)
            await stop.wait()


if __name__ == "__main__":
    if os.environ.get("UVLOOP"):
        import uvloop

        uvloop.install()
    asyncio.run(main())
