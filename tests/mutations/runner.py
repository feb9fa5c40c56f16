"""Takes the defences away, two at a time, each in a copy of its own."""

from __future__ import annotations

import enum
import queue
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from tests.mutations.copy import ALL_WITHIN, ROOT, Copy, copy_source, sources
from tests.mutations.mutation import Mutation, StaleError

T = TypeVar("T")

PROCESSES = 2
FAILED = 1  # pytest's exit status: some tests failed (all others mean that they did not run)


class Verdict(enum.Enum):
    """What became of one mutation."""

    CAUGHT = "caught"
    SURVIVED = "SURVIVED"
    STALE = "STALE"


@dataclass(frozen=True, slots=True)
class Outcome:
    """`text` says more, where it was not caught."""

    mutation: Mutation
    verdict: Verdict
    seconds: float
    text: str = ""


Told = Callable[[Outcome], None]


def run(mutations: Sequence[Mutation], told: Told = lambda outcome: None) -> list[Outcome]:
    """The outcomes, in the mutations' order. Raises StaleError: the tests do not pass unmutated."""
    with tempfile.TemporaryDirectory(prefix="vshare-mutations-") as folder, ExitStack() as stack:
        roots = [Path(folder) / str(number) for number in range(PROCESSES)]
        names = sources(ROOT)
        copy_source(names, ROOT, roots[0])
        for root in roots[1:]:  # of the first, so that all are of one moment
            copy_source(names, roots[0], root)
        copies = [stack.enter_context(Copy(root)) for root in roots]
        _require_passing(mutations, copies)
        outcomes: dict[str, Outcome] = {}

        def one(copy: Copy, mutation: Mutation) -> None:
            outcomes[mutation.name] = outcome = judge(copy, mutation)
            told(outcome)

        _spread(copies, mutations, one)
        return [outcomes[mutation.name] for mutation in mutations]


def judge(copy: Copy, mutation: Mutation) -> Outcome:
    """Take one defence away and see."""
    began = time.monotonic()
    try:
        status, text = copy.run_mutated(mutation)
    except StaleError as error:
        return Outcome(mutation, Verdict.STALE, time.monotonic() - began, str(error))
    seconds = time.monotonic() - began
    if status == FAILED:
        return Outcome(mutation, Verdict.CAUGHT, seconds)
    return Outcome(mutation, Verdict.STALE if status else Verdict.SURVIVED, seconds, text)


def _require_passing(mutations: Sequence[Mutation], copies: Sequence[Copy]) -> None:
    """A test that fails anyway proves nothing. Raises StaleError."""
    tests = sorted({test for mutation in mutations for test in mutation.tests})
    problems: list[str] = []

    def one(copy: Copy, part: Sequence[str]) -> None:
        status, text = copy.run(part, ALL_WITHIN) if part else (0, "")
        if status:
            problems.append(text)

    _spread(copies, [tests[number :: len(copies)] for number in range(len(copies))], one)
    if problems:
        raise StaleError("the tests do not pass as the source is:\n" + "\n".join(problems))


def _spread(copies: Sequence[Copy], work: Sequence[T], one: Callable[[Copy, T], None]) -> None:
    """Do `work`, each piece in the copy that is free; a fault of ours in a thread is raised."""
    waiting: queue.SimpleQueue[T] = queue.SimpleQueue()
    for each in work:
        waiting.put(each)

    def worker(copy: Copy) -> None:
        while True:
            try:
                piece = waiting.get_nowait()
            except queue.Empty:
                return
            one(copy, piece)

    with ThreadPoolExecutor(len(copies)) as pool:
        for running in [pool.submit(worker, copy) for copy in copies]:
            running.result()
