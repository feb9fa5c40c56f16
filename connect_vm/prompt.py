"""Asks for a secret on the terminal, without an echo, in a way that Ctrl-C can end.

getpass(3)'s way would sit in a thread that nothing can wake, with the terminal left silent.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import termios
from collections.abc import Iterator

from tunnel.errors import UsageError

MAX_LINE = 1024  # bytes; a code has under 30
_LOCAL_FLAGS = 3  # the index of c_lflag in what tcgetattr gives, termios(3)


async def ask_hidden(prompt: str) -> str:
    """One line from the controlling terminal. Raises UsageError when there is none, or no line."""
    try:
        terminal = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        raise UsageError(
            "there is no terminal to ask for the code on", "use --code-file FILE"
        ) from None
    try:
        with _without_echo(terminal):
            os.write(terminal, prompt.encode("utf-8", "replace"))
            try:
                line = await _line(terminal)
            finally:
                os.write(terminal, b"\n")  # the user's own was not shown
    finally:
        os.close(terminal)
    if not line:
        raise UsageError("no code was given", "type it, or use --code-file FILE")
    return line.decode("utf-8", "replace")


@contextlib.contextmanager
def _without_echo(terminal: int) -> Iterator[None]:
    before = termios.tcgetattr(terminal)
    silent = list(before)
    silent[_LOCAL_FLAGS] &= ~termios.ECHO
    termios.tcsetattr(terminal, termios.TCSAFLUSH, silent)
    try:
        yield
    finally:
        termios.tcsetattr(terminal, termios.TCSAFLUSH, before)


async def _line(terminal: int) -> bytes:
    """What was typed up to Enter; the terminal gives whole lines (termios(3), canonical mode)."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(terminal, ready.set)
    try:
        await ready.wait()
        return os.read(terminal, MAX_LINE).strip()
    finally:
        loop.remove_reader(terminal)
