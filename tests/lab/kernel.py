"""The few Linux calls that Python 3.11's standard library lacks: unshare, setns, mount, prctl.

Imports nothing of ours: holder.py and enter.py run with it under `python -I -S`, early in
namespaces where little else is set up. Sources: unshare(2), setns(2), mount(2), prctl(2).
"""

from __future__ import annotations

import ctypes
import os

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_BIND = 0x1000
MS_MOVE = 0x2000
MS_REC = 0x4000
MS_PRIVATE = 1 << 18
_PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def unshare(flags: int) -> None:
    """Leave the namespaces named by `flags` for new ones. Raises OSError."""
    _checked(_libc.unshare(flags), "unshare")


def setns(fd: int, kind: int) -> None:
    """Enter the namespace behind `fd`: for CLONE_NEWNET, the calling thread alone does."""
    _checked(_libc.setns(fd, kind), "setns")


def mount(source: str, target: str, kind: str = "", flags: int = 0, data: str = "") -> None:
    """mount(2). Raises OSError naming the target."""
    arguments = (os.fsencode(text) for text in (source, target, kind))
    result = _libc.mount(*arguments, ctypes.c_ulong(flags), data.encode())
    _checked(result, f"mount {source} on {target}")


def die_with_parent(signal_number: int) -> None:
    """Have the kernel send this process a signal when the thread that made it ends."""
    _checked(_libc.prctl(_PR_SET_PDEATHSIG, signal_number, 0, 0, 0), "prctl")
