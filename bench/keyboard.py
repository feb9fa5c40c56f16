"""A person at a terminal: keys in, and how long until each is on the screen."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import time
from collections.abc import Mapping, Sequence

from bench.processes import WITH_US, StartError

READY = "READ_Y"  # what a shell says before the keys are measured
LETTERS = b"wxyz"  # of which no sequence ends that a terminal is sent
PAUSE = 0.01  # seconds between keys: a very fast typist's would be 0.05
LINE = 60  # keys, then the line is thrown away
SHOWN_WITHIN = 10.0  # seconds
_TITLE = re.compile(rb"\x1b\].*?(?:\x07|\x1b\\)")
_ERASE = b"\x15"  # Ctrl-U
_QUIET = 0.03  # seconds without output after it


class Keyboard:
    """`command` on a pty of 80 by 24. Ends with `close`."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            words = [*WITH_US, *command]
            try:
                os.execvpe(words[0], words, {**os.environ, "TERM": "xterm-256color", **environment})
            finally:
                os._exit(127)
        os.set_inheritable(self._fd, False)
        self.seen = b""
        self._typed = self._lines = 0

    def wait_for(self, text: bytes, within: float) -> None:
        """Until the program has shown `text`. Raises StartError."""
        deadline = time.perf_counter() + within
        while text not in self.seen:
            if not self._read(deadline - time.perf_counter()):
                raise StartError(f"no {text!r} in {self.seen[-300:]!r}")

    def type(self, data: bytes) -> None:
        """Press keys; nobody waits for what they do."""
        os.write(self._fd, data)

    def press(self) -> float:
        """One key: seconds until it is shown. Raises StartError."""
        if self._typed == LINE:
            self._typed = 0
            self._lines += 1
            self.type(_ERASE)
            while self._read(_QUIET):
                pass
        # Unlike the one that was there in the line before, which may not be gone from the screen.
        letter = LETTERS[(self._typed + self._lines) % len(LETTERS) :][:1]
        self._typed += 1
        self.seen = b""
        begin = time.perf_counter()
        self.type(letter)
        while letter not in _TITLE.sub(b"", self.seen):
            if not self._read(begin + SHOWN_WITHIN - time.perf_counter()):
                raise StartError(f"a key is not shown within {SHOWN_WITHIN:g} s")
        return time.perf_counter() - begin

    def press_for(self, seconds: float) -> list[float]:
        """Type for so long: how long each key took."""
        end = time.perf_counter() + seconds
        times = []
        while time.perf_counter() < end:
            times.append(self.press())
            while self._read(PAUSE):
                pass
        return times

    def close(self) -> None:
        """Hang up."""
        os.close(self._fd)
        for number in (signal.SIGTERM, signal.SIGKILL):
            deadline = time.perf_counter() + 3
            while time.perf_counter() < deadline:
                if os.waitpid(self.pid, os.WNOHANG)[0]:
                    return
                time.sleep(0.01)
            os.kill(self.pid, number)
        os.waitpid(self.pid, 0)

    def _read(self, within: float) -> bool:
        ready, _, _ = select.select([self._fd], [], [], max(within, 0))
        if not ready:
            return False
        try:
            self.seen += os.read(self._fd, 65536)
        except OSError:
            raise StartError(f"the program has ended: {self.seen[-300:]!r}") from None
        return True
