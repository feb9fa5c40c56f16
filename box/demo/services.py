"""Starts the demo's services, each in a process that carries its name."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Callable

from . import dns, echo
from .site import Private, Server, Site

EVERYWHERE = "0.0.0.0"
LOOPBACK = "127.0.0.1"
HTTP, PRIVATE, ECHO, DNS = 80, 8081, 7, 53


def main() -> None:
    """Start all of them and wait; does not return."""
    services = {
        "demo-http": lambda: Server((EVERYWHERE, HTTP), Site).serve_forever(),
        "demo-private": lambda: Server((LOOPBACK, PRIVATE), Private).serve_forever(),
        "demo-echo": lambda: _both(ECHO, echo.serve_tcp, echo.serve_udp),
        "demo-dns": lambda: _both(DNS, dns.serve_tcp, dns.serve_udp),
    }
    running = {_start(name, service): name for name, service in services.items()}
    while True:
        process, status = os.wait()
        name = running.pop(process)
        print(f"{name} ended ({status}), starting it again", flush=True)
        running[_start(name, services[name])] = name


def _start(name: str, service: Callable[[], None]) -> int:
    process = os.fork()
    if process:
        return process
    try:
        with contextlib.suppress(OSError), open("/proc/self/comm", "w", encoding="ascii") as file:
            file.write(name)
        service()
    finally:
        os._exit(1)


def _both(
    port: int, tcp: Callable[[socket.socket], None], udp: Callable[[socket.socket], None]
) -> None:
    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiver.bind((EVERYWHERE, port))
    threading.Thread(target=udp, args=(receiver,), daemon=True).start()
    tcp(socket.create_server((EVERYWHERE, port), reuse_port=False))
