"""Starts the demo's services, each in a process that carries its name."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
import traceback
from collections.abc import Callable
from typing import NamedTuple

from . import dns, echo
from .site import Private, Server, Site

EVERYWHERE = "0.0.0.0"
LOOPBACK = "127.0.0.1"
PAUSE = 1.0  # seconds before a service that ended is started again, so that none spins


class Places(NamedTuple):
    """Where the services listen; in the machine, the ports that they are known by."""

    address: str = EVERYWHERE
    http: int = 80
    private: int = 8081  # on LOOPBACK, or it would not be private
    echo: int = 7
    dns: int = 53


IN_THE_MACHINE = Places()


def main(places: Places = IN_THE_MACHINE) -> None:
    """Start all of them and wait; does not return."""
    services = {
        "demo-http": lambda: Server((places.address, places.http), Site).serve_forever(),
        "demo-private": lambda: Server((LOOPBACK, places.private), Private).serve_forever(),
        "demo-echo": lambda: _both(places, places.echo, echo.serve_tcp, echo.serve_udp),
        "demo-dns": lambda: _both(places, places.dns, dns.serve_tcp, dns.serve_udp),
    }
    running = {_start(name, service): name for name, service in services.items()}
    while True:
        process, status = os.wait()
        name = running.pop(process)
        print(f"{name} ended ({status}), starting it again", flush=True)
        time.sleep(PAUSE)
        running[_start(name, services[name])] = name


def _start(name: str, service: Callable[[], None]) -> int:
    process = os.fork()
    if process:
        return process
    try:
        with contextlib.suppress(OSError), open("/proc/self/comm", "w", encoding="ascii") as file:
            file.write(name)
        service()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(1)


def _both(
    places: Places,
    port: int,
    tcp: Callable[[socket.socket], None],
    udp: Callable[[socket.socket], None],
) -> None:
    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiver.bind((places.address, port))
    threading.Thread(target=udp, args=(receiver,), daemon=True).start()
    tcp(socket.create_server((places.address, port)))
