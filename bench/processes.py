"""Processes that the bench started: their end, their CPU time, their memory, from /proc.

A tool may fork (sshd does, for each connection), so what counts is a process and all that come
from it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread

TICKS = os.sysconf("SC_CLK_TCK")
WITH_US = ("setpriv", "--pdeathsig", "TERM", "--")  # kill -9 of the bench leaves nothing either
ENDS_WITHIN = 5.0  # seconds from SIGTERM until SIGKILL
SAYS_WITHIN = 30.0  # seconds for a line on stdout
POLL = 0.005  # seconds
_START = 19  # of the fields of /proc/PID/stat that `_stat` gives: in clock ticks since boot


class StartError(Exception):
    """A tool that did not start, or ended."""


class Process:
    """A program under way; what it says on stderr is in `log`."""

    def __init__(
        self, command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self.command = list(command)
        self.log = log
        self.started = time.monotonic()
        with log.open("wb") as errors:
            self.popen = subprocess.Popen(
                [*WITH_US, *self.command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env={**os.environ, **(environment or {})},
                process_group=0,  # Ctrl-C is for the bench, which ends them in order
            )
        self._lines: SimpleQueue[bytes] = SimpleQueue()
        Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        """Read all the time: a program whose stdout is full would stand still."""
        assert self.popen.stdout is not None
        with contextlib.suppress(ValueError):  # closed by `stop`
            for line in self.popen.stdout:
                self._lines.put(line)
        self._lines.put(b"")

    def line(self, within: float = SAYS_WITHIN) -> bytes:
        """The next line of its stdout. Raises StartError when there is none."""
        with contextlib.suppress(Empty):
            if line := self._lines.get(timeout=within):
                return line
            raise StartError(f"{self.command[0]} ended: {self.words()}")
        raise StartError(f"{self.command[0]} says nothing: {self.words()}")

    def words(self) -> str:
        """The last of what it said on stderr."""
        return " | ".join(self.log.read_text(errors="replace").strip().splitlines()[-4:])

    def stop(self) -> None:
        """End it and all that came from it, by their process ids."""
        known = descent([self])
        _signal([self.popen.pid], signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.popen.wait(ENDS_WITHIN)
        self.popen.kill()
        self.popen.wait()
        end(known)
        for stream in (self.popen.stdin, self.popen.stdout):
            with contextlib.suppress(OSError):
                if stream is not None:
                    stream.close()


class _Signals:
    """What has been heard, and how many blocks are under way that it may not break."""

    unbroken = 0
    heard: int | None = None


def end_on_signals() -> None:
    """From now on SIGTERM and SIGINT are a SystemExit, but for what is `unbroken`."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, frame: _hear(number))


def _hear(number: int) -> None:
    _Signals.heard = number
    _exit_if_heard()


def _exit_if_heard() -> None:
    number = _Signals.heard
    if number is not None and not _Signals.unbroken:
        _Signals.heard = None
        raise SystemExit(128 + number)  # as a shell tells it


@contextlib.contextmanager
def unbroken() -> Iterator[None]:
    """A signal ends the bench after the block: else what is just being started is nobody's to
    end, and what is just being ended stays. Of the main thread."""
    _Signals.unbroken += 1
    try:
        yield
    finally:
        _Signals.unbroken -= 1
        _exit_if_heard()


def started(
    stack: contextlib.ExitStack,
    command: Sequence[str],
    log: Path,
    environment: Mapping[str, str] | None = None,
) -> Process:
    """Start a program that `stack` ends, whenever a signal comes."""
    with unbroken():
        process = Process(command, log, environment)
        stack.callback(process.stop)
    return process


@contextlib.contextmanager
def killed_after(command: Sequence[str]) -> Iterator[subprocess.Popen[str]]:
    """A program with pipes, for the length of a block at most."""
    pipe = subprocess.PIPE
    with contextlib.ExitStack() as stack:
        with unbroken():
            process = subprocess.Popen(
                [*WITH_US, *command], stdin=pipe, stdout=pipe, stderr=pipe, text=True
            )
            stack.enter_context(process)
            stack.callback(process.kill)
        yield process


def _signal(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def descent(processes: Iterable[Process]) -> set[tuple[int, str]]:
    """They and what came from them, each with the tick of its start: a process id alone may be
    another's by the time when it is used. Taken before the first is ended, since nobody knows
    whose an orphan was (sshd's session, once its client has gone)."""
    pids = {pid for process in processes for pid in family(process.popen.pid)}
    return {(pid, fields[_START]) for pid in pids if (fields := _stat(pid))}


def end(known: Iterable[tuple[int, str]]) -> None:
    """End those of `known` that still run."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        _signal(_still(known), number)
        deadline = time.monotonic() + ENDS_WITHIN
        while _still(known) and time.monotonic() < deadline:
            time.sleep(POLL)


def _still(known: Iterable[tuple[int, str]]) -> list[int]:
    return [pid for pid, start in known if runs(pid) and _stat(pid)[_START:][:1] == [start]]


def family(pid: int) -> list[int]:
    """`pid` and its living descendants, itself first."""
    children: dict[int, list[int]] = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found = [pid]
    for each in found:
        found += children.get(each, [])
    return found


def _stat(pid: int) -> list[str]:
    """/proc/PID/stat after the name: state, ppid, ...; nothing where it is gone (proc(5))."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return []


def runs(pid: int) -> bool:
    """Whether there is such a process, and it is no zombie."""
    return _stat(pid)[:1] not in ([], ["Z"])


def cpu_seconds(processes: Iterable[Process]) -> float:
    """User and system time of them, their living descendants, and the dead ones waited for."""
    ticks = 0
    for process in processes:
        for pid in family(process.popen.pid):
            ticks += sum(int(field) for field in _stat(pid)[11:15])
    return ticks / TICKS


def memory_kb(processes: Iterable[Process]) -> int:
    """Proportional set size in kB: memory shared with others counts in parts."""
    total = 0
    for process in processes:
        for pid in family(process.popen.pid):
            with contextlib.suppress(OSError):
                for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                    if line.startswith("Pss:"):
                        total += int(line.split()[1])
    return total


def wait_until(check: object, what: str, within: float) -> float:
    """Seconds until `check()` is true. Raises StartError."""
    assert callable(check)
    begin = time.monotonic()
    while not check():
        if time.monotonic() - begin > within:
            raise StartError(f"{what}: not within {within:g} s")
        time.sleep(POLL)
    return time.monotonic() - begin
