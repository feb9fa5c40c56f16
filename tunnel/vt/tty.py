"""The terminal that a person sits at, raw while it is entered, and as it was before in the end.

Also when this process is killed: a shell waits for that, and sets back what it can.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import termios
import tty
from collections.abc import Callable
from types import TracebackType

from tunnel.errors import LostError, UsageError

READ = 4096  # bytes at once: what is pasted comes in pieces
USUAL = (80, 24)  # columns and rows of a terminal that does not say
# Reads from a pipe that only ends when our process does; then resets modes (screen, cursor, mouse,
# paste, keys), and the line discipline to what `stty -g` gave, unless a shell has already.
_GUARDIAN = r"""
trap '' HUP INT QUIT TERM TTOU TSTP
read -r raw
read -r word && exit
exec 3>&1
[ "$(stty -g <&3)" = "$raw" ] && stty "$0" <&3
printf '\033[?1049l\033[?1;5;9;1000;1002;1003;1004;1005;1006;1015;2004l'
printf '\033>\033[0 q\033[?25h\033[0m\r\n'
"""


class Tty:
    """Async context manager. Standard input and output have to be one terminal: UsageError.

    `resized` is called when its window has another size.
    """

    def __init__(self, resized: Callable[[], None] = lambda: None) -> None:
        self._resized = resized
        self._fd = -1
        self._guardian: subprocess.Popen[bytes] | None = None
        self._out = b""
        self._is_hung_up = False
        self._written: asyncio.Event | None = None

    async def __aenter__(self) -> Tty:
        require_terminal()
        try:
            # A description of its own: whether it blocks is nobody else's matter.
            flags = os.O_RDWR | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
            self._fd = os.open(f"/proc/self/fd/{sys.stdin.fileno()}", flags)
            self._before = termios.tcgetattr(self._fd)
        except (OSError, termios.error) as error:
            self._close()
            raise UsageError(f"cannot open the terminal: {error}", "use another one") from error
        saved = _settings()
        self._written = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGWINCH, self._resized)
        tty.setraw(self._fd, termios.TCSADRAIN)  # what was typed ahead is for the machine
        self._guardian = _guardian(saved, _settings())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_signal_handler(signal.SIGWINCH)
        loop.remove_writer(self._fd)
        with contextlib.suppress(OSError, termios.error):  # it is gone
            os.set_blocking(self._fd, False)
            termios.tcsetattr(self._fd, termios.TCSADRAIN, self._before)
        self._close()
        if self._guardian is not None and self._guardian.stdin is not None:
            with contextlib.suppress(OSError):
                self._guardian.stdin.write(b"done\n")
                self._guardian.stdin.close()
            self._guardian.wait()

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)

    @property
    def size(self) -> tuple[int, int]:
        """Columns and rows."""
        with contextlib.suppress(OSError):
            columns, rows = os.get_terminal_size(self._fd)
            if columns and rows:
                return columns, rows
        return USUAL

    @property
    def is_writing(self) -> bool:
        """Whether it has not taken all of what it was given last."""
        return bool(self._out)

    async def read(self) -> bytes:
        """What was typed. Raises LostError when the terminal is gone."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                data = os.read(self._fd, READ)
            except BlockingIOError:
                ready = asyncio.Event()
                loop.add_reader(self._fd, ready.set)
                try:
                    await ready.wait()
                finally:
                    loop.remove_reader(self._fd)
                continue
            except OSError as error:
                raise LostError("the terminal is gone") from error
            if not data:
                raise LostError("the terminal is gone")
            return data

    def write(self, data: bytes) -> None:
        """Show `data`; only when not `is_writing`, so that what is kept of it is one picture."""
        assert not self._out
        self._out = data
        self._write_more()

    async def written(self) -> None:
        """Until it has taken everything."""
        assert self._written is not None
        while self._out:
            self._written.clear()
            await self._written.wait()

    def finish(self, data: bytes) -> None:
        """The last words: as much as it takes at once."""
        with contextlib.suppress(OSError):
            os.write(self._fd, self._out + data)
        self._out = b""

    def _write_more(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            self._out = self._out[os.write(self._fd, self._out) :]
        except BlockingIOError:
            pass
        except OSError:  # it is gone, which `read` tells
            self._out = b""
        if self._out:
            loop.add_writer(self._fd, self._write_more)
        else:
            loop.remove_writer(self._fd)
            if self._written is not None:
                self._written.set()


def require_terminal() -> None:
    """Raises UsageError unless standard input and output are a terminal."""
    for stream, what in ((sys.stdin, "input"), (sys.stdout, "output")):
        if not stream.isatty():
            raise UsageError(
                f"standard {what} is no terminal",
                "run it in a terminal, with neither < nor > nor |; over ssh: `ssh -t`",
            )


def _settings() -> str:
    """Of the line discipline, in stty(1)'s words; nothing where there is no such program."""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(["stty", "-g"], capture_output=True, text=True, check=True)
        return done.stdout.strip()
    return ""


def _guardian(saved: str, raw: str) -> subprocess.Popen[bytes] | None:
    """See _GUARDIAN."""
    if not (saved and raw):
        return None
    with contextlib.suppress(OSError):
        guardian = subprocess.Popen(["sh", "-c", _GUARDIAN, saved], stdin=subprocess.PIPE)
        if guardian.stdin is not None:
            guardian.stdin.write(f"{raw}\n".encode())
            guardian.stdin.flush()
        return guardian
    return None
