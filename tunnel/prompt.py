"""Asks a person on the terminal, in ways that Ctrl-C and a deadline can end.

getpass(3)'s way would sit in a thread that nothing can wake, with the terminal left silent.
One question at a time: whoever may have several takes turns.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import termios
from collections.abc import Iterator

from tunnel.errors import UsageError

MAX_LINE = 1024  # bytes; a code has under 30, an SSH password at most 256 characters
_LOCAL_FLAGS = 3  # the index of c_lflag in what tcgetattr gives, termios(3)


async def ask_hidden(prompt: str, otherwise_hint: str) -> str:
    """One line from the controlling terminal, without an echo.

    Raises UsageError when there is no terminal, or no line; `otherwise_hint` says what to do
    instead. Cancelled: the echo is back.
    """
    with _terminal(otherwise_hint) as terminal, _without_echo(terminal):
        _write(terminal, prompt)
        try:
            line = await _line(terminal)
        finally:
            _write(terminal, "\n")  # the user's own was not shown
    if not line:
        raise UsageError("nothing was typed", f"type it, or {otherwise_hint}")
    return line


async def ask_line(prompt: str, within: float) -> str:
    """One line from the controlling terminal, as it is typed; "" for none: Ctrl-D, or no answer
    `within` seconds.

    What was typed before the question is thrown away: it answers nothing. Raises UsageError when
    there is no terminal (any more). Cancelled: the line is given up.
    """
    with _terminal("run it on a terminal, in the foreground") as terminal:
        termios.tcflush(terminal, termios.TCIFLUSH)
        _write(terminal, prompt)
        answered = False
        try:
            async with asyncio.timeout(within):
                line = await _line(terminal)
            answered = True
        except TimeoutError:
            line = ""
        finally:
            if not answered and _is_in_front(terminal):
                with _not_stopped():
                    termios.tcflush(terminal, termios.TCIFLUSH)  # half a line is no next answer
                    _write(terminal, "\n")
    return line


@contextlib.contextmanager
def _terminal(otherwise_hint: str) -> Iterator[int]:
    try:
        terminal = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        raise UsageError("there is no terminal to ask on", otherwise_hint) from None
    try:
        if not _is_in_front(terminal):
            raise UsageError("the terminal belongs to another program", otherwise_hint)
        yield terminal
    except (termios.error, OSError) as error:  # it was closed, or its line was hung up
        raise UsageError(f"the terminal is gone: {error}", otherwise_hint) from error
    finally:
        os.close(terminal)


def _is_in_front(terminal: int) -> bool:
    """Whether the terminal is ours now (tcgetpgrp(3)): else what is typed is for another."""
    return os.tcgetpgrp(terminal) == os.getpgrp()


@contextlib.contextmanager
def _not_stopped() -> Iterator[None]:
    """Touching a terminal from the background is an error inside, and does not stop the whole
    process (termios(3): where the signal is blocked, EIO)."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTIN, signal.SIGTTOU})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _write(terminal: int, text: str) -> None:
    os.write(terminal, text.encode("utf-8", "replace"))


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


async def _line(terminal: int) -> str:
    """What was typed up to Enter; the terminal gives whole lines (termios(3), canonical mode)."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(terminal, ready.set)
    try:
        await ready.wait()
        if not _is_in_front(terminal):  # by now: the user put us into the background
            raise UsageError("the terminal belongs to another program", "bring it back with `fg`")
        with _not_stopped():
            return os.read(terminal, MAX_LINE).strip().decode("utf-8", "replace")
    finally:
        loop.remove_reader(terminal)
