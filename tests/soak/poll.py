"""When a machine's echo answers: `python -m tests.soak.poll HOST PORT [SOCKS]`, until terminated.

Prints when each try that got its echo did, in seconds of CLOCK_MONOTONIC.
"""

from __future__ import annotations

import asyncio
import sys
import time

from tests.soak.ways import Way

EVERY = 0.2  # seconds between the starts of tries
WITHIN = 12.0  # seconds for one; an open is waited for 10


async def _try(way: Way, port: int) -> None:
    try:
        async with asyncio.timeout(WITHIN):
            reader, writer = await way.open(port)
            try:
                writer.write(b"x")
                if await reader.read(1) == b"x":
                    print(time.monotonic(), flush=True)
            finally:
                writer.transport.abort()
    except (OSError, TimeoutError):
        return


async def main() -> None:
    """The program."""
    host, port = sys.argv[1], int(sys.argv[2])
    way = Way("poll", host, sys.argv[3] if len(sys.argv) > 3 else "")
    async with asyncio.TaskGroup() as group:
        while True:
            group.create_task(_try(way, port), name="try")
            await asyncio.sleep(EVERY)


if __name__ == "__main__":
    asyncio.run(main())
