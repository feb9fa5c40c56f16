"""Before a client ends: what programs sent to their end is not lost with it.

A program that has sent a file and closed is done, while its last bytes may be on their way for a
moment yet. To end then would be to reset the stream, and RESET overtakes what the machine has not
read. So whoever ends waits a little for those streams, and leaves them without RESET.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection

from tunnel.closing_sockets import ClosingSockets
from tunnel.resumable_end import ResumableEnd

SLOW_AFTER = 1.0  # seconds after which a user wonders what is being waited for
# Seconds between questions, doubled each time: the answer mostly comes at once, and those that a
# machine reads too slowly to be asked lie in a queue, where there may be 16 (MAX_PINGS).
ASK_FIRST, ASK_MOST = 0.02, 0.5


async def drain(
    streams: Collection[ResumableEnd], within: float, on_slow: Callable[[int], None]
) -> int:
    """Wait until the other side has all that programs sent which have ended, `within` seconds at
    most, and leave their streams; how many are still owed something. `on_slow(count)` is called
    once, if it takes longer than SLOW_AFTER. Streams whose programs go on are not waited for."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    pause, told = ASK_FIRST, False
    while owed := _owed(streams):
        waited = loop.time() - began
        if waited >= SLOW_AFTER and not told:  # first: the question itself may take all the time
            told = True
            on_slow(len(owed))
        if waited >= within:
            break
        for each in owed:
            each.ask()
        await asyncio.sleep(min(pause, within - waited))
        pause = min(2 * pause, ASK_MOST)
    for each in streams:
        each.leave()
    return len(owed)


def _owed(streams: Collection[ResumableEnd]) -> list[ResumableEnd]:
    closing = ClosingSockets()
    return [each for each in streams if each.is_owed(closing)]
