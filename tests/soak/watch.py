"""How much memory and how many files the programs hold, looked at again and again."""

from __future__ import annotations

import os
import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

EVERY = 3.0  # seconds
WARM_UP = 0.25  # of the run: pools grow, allocators keep what they had once
MEMORY_GROWS = 1.15  # times: the last third's median over the first's ...
MEMORY_SLACK = 12_000  # kB, and this: a buffer more or less of a few streams
RESTED_WITHIN = 60.0  # seconds after the load: idle connections are closed after half of that
FILES_SLACK = 80  # a share that was busy keeps 64 parked connections for a while (relay/lot.py)
POLL = 1.0  # seconds
ENOUGH = 12  # samples after the warm-up; fewer say nothing


@dataclass(frozen=True, slots=True)
class Sample:
    """`memory` is resident, in kB."""

    at: float
    name: str
    memory: int
    files: int


@dataclass(frozen=True, slots=True)
class Trend:
    """Medians of the first and of the last third, after the warm-up."""

    name: str
    memory: tuple[float, float]
    files: tuple[float, float]
    peak: int

    def complaints(self) -> list[str]:
        """What grew by more than it may. Files change with the load: see `rest`."""
        found = []
        if self.memory[1] > self.memory[0] * MEMORY_GROWS + MEMORY_SLACK:
            found.append(f"{self.name}: memory {self.memory[0]:.0f} -> {self.memory[1]:.0f} kB")
        return found


class Watch:
    """A context manager: samples in a thread meanwhile."""

    def __init__(self, pids: Callable[[], dict[str, int]]) -> None:
        self.samples: list[Sample] = []
        self._pids = pids
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(EVERY):
            for name, pid in self._pids().items():
                if (found := look(name, pid)) is not None:
                    self.samples.append(found)


def look(name: str, pid: int) -> Sample | None:
    """None for one that has just ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        files = len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return None
    memory = [line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")]
    return Sample(time.monotonic(), name, int(memory[0]), files) if memory else None


def count_files(pids: dict[str, int]) -> dict[str, int]:
    """Open files by name, of those that run."""
    found = {name: look(name, pid) for name, pid in pids.items()}
    return {name: each.files for name, each in found.items() if each is not None}


def rest(pids: Callable[[], dict[str, int]], before: dict[str, int]) -> list[str]:
    """Waits until the programs hold as few files as before there was a load; who does not?

    At most RESTED_WITHIN. What leaks with each stream or with each fault is far above the slack.
    """
    deadline = time.monotonic() + RESTED_WITHIN
    while over := _over(before, count_files(pids())):
        if time.monotonic() > deadline:
            break
        time.sleep(POLL)
    return over


def _over(before: dict[str, int], now: dict[str, int]) -> list[str]:
    return [
        f"{name}: {before[name]} open files before the load, {files} after it"
        for name, files in sorted(now.items())
        if name in before and files > before[name] + FILES_SLACK
    ]


def trends(samples: list[Sample], began: float, ended: float) -> list[Trend]:
    """One for each program that was seen often enough."""
    begin = began + (ended - began) * WARM_UP
    third = (ended - begin) / 3
    found = []
    for name in sorted({each.name for each in samples}):
        own = [each for each in samples if each.name == name and each.at >= begin]
        first = [each for each in own if each.at < begin + third]
        last = [each for each in own if each.at >= ended - third]
        if len(own) < ENOUGH or not first or not last:
            continue
        memory = [statistics.median(each.memory for each in part) for part in (first, last)]
        files = [statistics.median(each.files for each in part) for part in (first, last)]
        peak = max(each.memory for each in own)
        found.append(Trend(name, (memory[0], memory[1]), (files[0], files[1]), peak))
    return found
