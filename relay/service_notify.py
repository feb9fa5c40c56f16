"""What a service manager is told of this process, if one asks for it: sd_notify(3)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket

SOCKET = "NOTIFY_SOCKET"
WATCHDOG = "WATCHDOG_USEC"  # microseconds in which it wants to hear from us


def tell_manager(*lines: str) -> None:
    """Send `lines`, like READY=1; where nobody asks, or listens, nothing happens."""
    path = os.environ.get(SOCKET, "")
    if not path.startswith(("/", "@")):
        return
    address = f"\0{path[1:]}" if path.startswith("@") else path
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        with contextlib.suppress(OSError):
            sock.sendto("\n".join(lines).encode(), address)


async def keep_watchdog() -> None:
    """Tell the manager again and again that the event loop turns, if it wants to know; until
    cancelled."""
    wanted = os.environ.get(WATCHDOG, "")
    if not wanted.isdigit() or int(wanted) == 0:
        return
    while True:
        tell_manager("WATCHDOG=1")
        await asyncio.sleep(int(wanted) / 1e6 / 2)
