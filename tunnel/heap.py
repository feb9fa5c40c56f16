"""Gives freed memory back to the system.

glibc keeps what was freed below something that is still in use, and busy streams leave many such
holes: a share that carried much for an hour would stay at twice the size that it needs. And a
connection that was lost leaves a TLS object of 200 kB in a cycle, of which Python's collector,
that counts objects and not their size, thinks too little to look for it.
"""

from __future__ import annotations

import asyncio
import gc

GIVE_BACK_EVERY = 60.0  # seconds; some 30 ms each time


def give_back() -> None:
    """Once (malloc_trim(3)). No more than a collection, where the system has no such function."""
    gc.collect()
    import ctypes  # 5 ms, which a start need not pay

    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError):
        return


async def keep_giving_back() -> None:
    """From time to time, until cancelled."""
    while True:
        await asyncio.sleep(GIVE_BACK_EVERY)
        give_back()
