"""`vshare up --detach`: once everything is up and all is asked, the share leaves its terminal.

Two processes: `start` runs the command once more as an ordinary child, which has the terminal and
asks and complains on it as ever. When the share is up, the child (`Leaving`) puts itself into a
session of its own, its output into a file, and says so through a pipe, and `start` returns.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

import platformdirs

from tunnel.console import EXIT_FAILURE, EXIT_OK, Console
from tunnel.errors import VshareError

_PIPE = "VSHARE_DETACH_PIPE"  # the environment's word from `start` to its child: a descriptor
_READY = b"1"


def start(arguments: Sequence[str]) -> int:
    """Run `vshare` with `arguments` until it has left the terminal, or has ended; the exit code.

    Ctrl-C is for the child, which has the same terminal; other signals are passed on.
    """
    read, write = os.pipe()
    environment = os.environ | {_PIPE: str(write)}
    command = [sys.executable, "-P", "-m", "vshare.cli", *arguments]
    child = subprocess.Popen(command, env=environment, pass_fds=[write])
    os.close(write)

    def pass_on(number: int, frame: FrameType | None) -> None:
        child.send_signal(number)

    before = {number: signal.signal(number, pass_on) for number in (signal.SIGTERM, signal.SIGHUP)}
    before[signal.SIGINT] = signal.signal(signal.SIGINT, lambda number, frame: None)
    try:
        is_ready = os.read(read, 1) == _READY
        return EXIT_OK if is_ready else _exit_code(child.wait())
    finally:
        os.close(read)
        for number, handler in before.items():
            signal.signal(number, handler)


def _exit_code(code: int) -> int:
    """Of a child that ended by itself, which has said why, or by a signal, which has not."""
    if code >= 0:
        return code or EXIT_FAILURE  # to end before it was up is a failure, whatever it says
    name = signal.Signals(-code).name
    print(f"error: the share was ended by {name} before it was up", file=sys.stderr)
    return 128 - code


def log_path(name: str) -> Path:
    """Where the output of the detached share `name` goes."""
    folder = platformdirs.user_state_path("vshare", appauthor=False) / "detached"
    return folder / f"{name}.log"


def rename_log(before: str, name: str) -> None:
    """The output of the detached share `before` is found as that of `name`, and goes on there."""
    with contextlib.suppress(OSError):  # of several, the first gave it its name
        log_path(before).replace(log_path(name))


class Leaving:
    """The child of `start`, which leaves the terminal when `leave` is called."""

    def __init__(self, pipe: int) -> None:
        self._pipe = pipe

    @classmethod
    def maybe(cls) -> Leaving | None:
        """None: this process is not such a child."""
        text = os.environ.pop(_PIPE, "")
        if not text.isascii() or not text.isdigit():
            return None
        pipe = int(text)
        os.set_inheritable(pipe, False)
        return cls(pipe)

    def leave(self, name: str, console: Console) -> None:
        """From now on output goes to the file of `name`, and the terminal may be closed.

        Raises VshareError where there is no place for that file: then nothing has changed.
        """
        path = log_path(name)
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise VshareError(
                f"cannot write the output of the share to {path}: {reason}",
                "set XDG_STATE_HOME to a directory that you can write to",
            ) from error
        console.step(f"It goes on in the background, and writes to {path}.")
        console.step("`vshare attach` shows it, `vshare stop` ends it.")
        sys.stdout.flush()
        sys.stderr.flush()
        nothing = os.open(os.devnull, os.O_RDWR)
        for ours, its in ((nothing, 0), (log, 1), (log, 2)):
            os.dup2(ours, its)
        os.close(nothing)
        os.close(log)
        if os.getsid(0) != os.getpid():
            os.setsid()  # no terminal: its end ends us no more
        try:
            os.write(self._pipe, _READY)
        except BrokenPipeError:
            pass  # who started it was killed
        finally:
            os.close(self._pipe)
