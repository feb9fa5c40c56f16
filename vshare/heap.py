"""Gives freed memory back to the system.

glibc keeps what was freed below something that is still in use, and busy streams leave many such
holes: a share that carried much for an hour would stay at twice the size that it needs.
"""

from __future__ import annotations

import asyncio

GIVE_BACK_EVERY = 60.0  # seconds; 1 ms each time, 10 where there are 60 MB to give back


def give_back() -> None:
    """Once (malloc_trim(3)). Nothing, where the system's library has no such function."""
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
