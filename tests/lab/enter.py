"""Run a command on a host of the lab: `python -I -S enter.py PID FOLDER COMMAND...`.

As nsenter(1) does, with two differences that matter to tests: signals sent to this process
reach the command, and the command is killed when this process is. The exit status (or the
signal that ended the command) becomes this process's own.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
if TYPE_CHECKING:
    from tests.lab import kernel
else:
    import kernel  # found beside this file: -I leaves the script's folder out

FORWARDED = {
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGWINCH,
}
SI_KERNEL = 0x80  # sent by the terminal, which the command got too (sigaction(2))
NOT_FOUND = 127  # as shells say it


def main(pid: int, folder: str, command: list[str]) -> None:
    """Enter the namespaces of process `pid` and run `command` there. Does not return."""
    kinds = {
        "net": kernel.CLONE_NEWNET,
        "uts": kernel.CLONE_NEWUTS,
        "mnt": kernel.CLONE_NEWNS,
        "pid": kernel.CLONE_NEWPID,
    }
    fds = {name: os.open(f"/proc/{pid}/ns/{name}", os.O_RDONLY | os.O_CLOEXEC) for name in kinds}
    kernel.setns(fds["pid"], kinds["pid"])  # for the child: a process keeps its own pid
    watched = FORWARDED | {signal.SIGCHLD}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, watched)
    child = os.fork()
    if child:
        _follow(child, watched)
    try:
        kernel.die_with_parent(signal.SIGKILL)
        for name in ("net", "uts", "mnt"):
            kernel.setns(fds[name], kinds[name])
        os.chdir(folder)
        # Python ignores SIGPIPE, and a shell has what it puts into the background ignore the
        # keyboard's signals; a command starts with neither.
        for number in (signal.SIGPIPE, signal.SIGINT, signal.SIGQUIT):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        os.execvp(command[0], command)
    except OSError as error:
        print(f"error: cannot run {command[0]!r}: {error}", file=sys.stderr, flush=True)
        os._exit(NOT_FOUND)


def _follow(child: int, watched: set[signal.Signals]) -> None:
    while True:
        info = signal.sigwaitinfo(watched)
        if info.si_signo != signal.SIGCHLD:
            if info.si_code != SI_KERNEL:
                os.kill(child, info.si_signo)
            continue
        ended, status = os.waitpid(child, os.WNOHANG)
        if not ended:
            continue
        if os.WIFSIGNALED(status):
            number = os.WTERMSIG(status)
            if number not in (signal.SIGKILL, signal.SIGSTOP):
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, [])
            os.kill(os.getpid(), number)
        os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3:])
