"""A command on a terminal of its own, as a person sees it."""

from __future__ import annotations

import os
import pty
import select
import termios
from collections.abc import Mapping


class Terminal:
    """Runs `command`; `seen` is all that was shown."""

    def __init__(self, command: list[str], environment: Mapping[str, str] | None = None) -> None:
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execve(command[0], command, dict(environment or os.environ))
        self.seen = ""
        self._looked = 0
        self.echoed_at_the_end = False

    def wait_for(self, text: str, within: float = 15) -> None:
        """Until `text` is shown, behind what was waited for before."""
        while (at := self.seen.find(text, self._looked)) < 0:
            ready, _, _ = select.select([self.fd], [], [], within)
            assert ready, self.seen
            try:
                self.seen += os.read(self.fd, 4096).decode()
            except OSError:  # the other side has closed (pty(7))
                raise AssertionError(self.seen) from None
        self._looked = at + len(text)

    def type(self, text: str) -> None:
        os.write(self.fd, text.encode())

    def echoes(self) -> bool:
        return bool(termios.tcgetattr(self.fd)[3] & termios.ECHO)

    def end(self) -> int:
        """Read to the end; the exit code."""
        try:
            while data := os.read(self.fd, 4096):
                self.seen += data.decode()
        except OSError:
            pass
        self.echoed_at_the_end = self.echoes()
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        os.close(self.fd)
        return code
