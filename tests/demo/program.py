"""One of our own commands running on a host of the lab, followed through its JSON events."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

from tests.lab import Host
from tunnel.errors import VshareError

ENDS_WITHIN = 15.0  # seconds from Ctrl-C to the end; 5 are promised on a machine that is not busy


class Program:
    """A command that was started with --json. Use `started`."""

    def __init__(self, process: subprocess.Popen[str], title: str, log: Path) -> None:
        self.process = process
        self.title = title
        self._log = log
        self._events: SimpleQueue[dict[str, Any] | None] = SimpleQueue()
        self._seen: list[dict[str, Any]] = []  # those that were looked at
        self._reader = Thread(target=self._read, name=title, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            try:
                self._events.put(json.loads(line))
            except ValueError:
                self._events.put({"event": "text", "text": line})
        self._events.put(None)

    def wait_for(self, name: str, within: float) -> dict[str, Any]:
        """The next event called `name`. Raises VshareError when it does not come."""
        deadline = time.monotonic() + within
        while True:
            try:
                event = self._events.get(timeout=max(0.0, deadline - time.monotonic()))
            except Empty:
                raise VshareError(
                    f"{self.title}: no {name!r} in {within:g} s{self._words()}"
                ) from None
            if event is None:
                raise VshareError(f"{self.title} ended before {name!r}{self._words()}")
            self._seen.append(event)
            if event.get("event") == name:
                return event

    def first(self, name: str, within: float) -> dict[str, Any]:
        """The first event called `name`, also if it came before one that was waited for."""
        return next(iter(self.all(name)), None) or self.wait_for(name, within)

    def all(self, name: str) -> list[dict[str, Any]]:
        """The events called `name` so far, up to the last one that was waited for."""
        return [event for event in self._seen if event.get("event") == name]

    def interrupt(self) -> float:
        """Ctrl-C: seconds until it ended. Raises VshareError unless it ends with exit code 0."""
        begin = time.monotonic()
        self.process.send_signal(signal.SIGINT)
        try:
            code = self.process.wait(ENDS_WITHIN)
        except subprocess.TimeoutExpired:
            raise VshareError(f"{self.title} still runs {ENDS_WITHIN:g} s after Ctrl-C") from None
        if code != 0:
            raise VshareError(f"{self.title} ended with {code} after Ctrl-C{self._words()}")
        return time.monotonic() - begin

    def _words(self) -> str:
        lines = self._log.read_text().strip().splitlines()[-6:]
        return ": " + " | ".join(lines) if lines else ""


@contextmanager
def started(
    host: Host,
    command: Sequence[str],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> Iterator[Program]:
    """Run a command on a host for the length of a block; what it says goes to the host's logs."""
    title = f"{command[0]} in {host.name}"
    number = len(list((host.folder / "log").iterdir()))
    log = host.folder / "log" / f"{number:02}-{command[0]}.txt"
    with (
        log.open("w") as story,
        host.running(command, stderr=story, cwd=cwd, env=env) as process,
    ):
        yield Program(process, title, log)
