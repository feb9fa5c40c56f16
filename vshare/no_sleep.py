"""`--no-sleep`: the host stays awake while it shares, as far as its logind lets programs ask that.

systemd-inhibit(1) holds the lock for as long as its program runs. That is one which ends when its
standard input does: so the lock goes with this process, however it ends.
"""

from __future__ import annotations

import asyncio
import contextlib
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator

from tunnel.console import Console

PROGRAM = "systemd-inhibit"
WITHIN = 5.0  # seconds for logind's answer, and for the program's end
MAX_WORDS = 4096  # bytes of what the program says when it fails
_HELD = b"held"
_ARGUMENTS = ("--what=sleep:idle", "--who=vshare", "--why=a machine is shared", "--mode=block")
_UNTIL_WE_END = ("sh", "-c", f"echo {_HELD.decode()}; exec cat")


@contextlib.asynccontextmanager
async def awake(console: Console, program: str = PROGRAM) -> AsyncIterator[None]:
    """Keep the host awake inside the block; where that cannot be had, say so and go on."""
    try:
        process = await asyncio.create_subprocess_exec(
            program,
            *_ARGUMENTS,
            *_UNTIL_WE_END,
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            start_new_session=True,  # a Ctrl-C is for us
        )
    except OSError as error:
        _tell(console, f"{program} cannot be run: {(error.strerror or str(error)).lower()}")
        yield
        return
    try:
        fault = await _fault(process)
        if fault:
            _tell(console, fault)
        else:
            console.detail("This host does not go to sleep by itself while it shares.")
        yield
    finally:
        await _end(process)


def _tell(console: Console, fault: str) -> None:
    console.warn(f"this host may go to sleep while it shares: {fault}")
    console.detail("`systemd-inhibit --list` shows whether logind can be asked here")


async def _fault(process: Process) -> str:
    """Why the lock is not held; empty when it is."""
    assert process.stdout is not None  # a pipe
    assert process.stderr is not None
    try:
        async with asyncio.timeout(WITHIN):
            if (await process.stdout.readline()).strip() == _HELD:
                return ""
            said = await process.stderr.read(MAX_WORDS)
    except TimeoutError:
        return f"no answer from {PROGRAM}"
    line = said.decode("utf-8", "replace").strip().partition("\n")[0]
    return line or f"{PROGRAM} ended without a word"


async def _end(process: Process) -> None:
    """Its program ends with its input, and it ends with its program."""
    assert process.stdin is not None
    process.stdin.close()
    try:
        async with asyncio.timeout(WITHIN):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
