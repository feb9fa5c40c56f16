"""Feeds a target: the corpus, then mutants of what reached new lines, until it is enough."""

from __future__ import annotations

import random
import signal
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from tests.fuzz import corpus
from tests.fuzz.lines import Lines
from tests.fuzz.mutator import Mutator
from tests.fuzz.target import BrokenInvariantError, Target

MAX_SECONDS = 0.5  # of CPU per input; the slowest honest one takes a tenth
HANG_LOOK = 0.25  # seconds of CPU between looks at whether an input hangs
TRACED_FIRST = 150  # inputs, all of them traced, until the easy lines are known
TRACED_SHARE = 1 / 64  # of those that follow
GENERATED = 0.25  # of the inputs, where a target has a generator
MAX_KEPT = 2_000  # inputs in memory
MINIMISE_TRIES = 3_000
MINIMISE_SECONDS = 10.0
ROOT = Path(__file__).parent.parent.parent


class TooSlowError(BaseException):
    """An input took more than MAX_SECONDS; nothing that parses may catch it."""


@dataclass
class Failure:
    """What one input ran into. `signature` names it without values of the input; `after` says
    how many inputs and seconds it took to find."""

    signature: str
    text: str
    data: bytes
    after: tuple[int, float] = (0, 0.0)


@dataclass
class Result:
    """What one run of a target came to."""

    target: str
    inputs: int = 0
    seconds: float = 0.0
    kept: int = 0
    lines: int = 0
    slowest: float = 0.0
    failures: dict[str, Failure] = field(default_factory=dict)

    def add(self, other: Result) -> None:
        """Take another run of the same target in."""
        self.inputs += other.inputs
        self.seconds += other.seconds
        self.kept = max(self.kept, other.kept)
        self.lines = max(self.lines, other.lines)
        self.slowest = max(self.slowest, other.slowest)
        self.failures = {**other.failures, **self.failures}


class Runner:
    """Runs one target; deterministic from `seed` but for where it stops.

    Not `guided`, it looks at no lines, mutates the corpus alone and makes no failure small: quick.
    """

    def __init__(self, target: Target, seed: str, *, guided: bool = True) -> None:
        self._guided = guided
        self._target = target
        self._chance = random.Random(f"{seed}/{target.name}")
        self._mutator = Mutator(self._chance, target.words, target.max_len)
        self._lines = Lines(target.modules)
        self._kept: list[bytes] = []
        self._began = 0.0
        self._started = 0.0  # process_time when the input under way began; 0: none is
        self.result = Result(target.name)

    def run(self, inputs: int | None, seconds: float | None) -> Result:
        """The corpus and the seeds, then others: `inputs` in all or for `seconds`."""
        began = self._began = time.monotonic()
        with self._watch():
            for data in (*self._target.seeds, *corpus.load(self._target.name)):
                if self._is_stuck:
                    break
                self._feed(data, traced=True)
                self._kept.append(data)  # new lines or not: lines do not tell all inputs apart
            self._kept = self._kept or [b""]
            while (
                not self._is_stuck
                and (inputs is None or self.result.inputs < inputs)
                and (seconds is None or time.monotonic() - began < seconds)
            ):
                data = self._next_input()
                traced = self.result.inputs < TRACED_FIRST or self._chance.random() < TRACED_SHARE
                if self._feed(data, traced=traced) and len(self._kept) < MAX_KEPT:
                    self._kept.append(data)
            for failure in self.result.failures.values() if self._guided else ():
                failure.data = self._minimised(failure)
        self.result.seconds = time.monotonic() - began
        self.result.kept, self.result.lines = len(self._kept), len(self._lines.seen)
        return self.result

    @property
    def _is_stuck(self) -> bool:
        """Whether an input hung: most others would as well, for seconds each."""
        return "too slow" in self.result.failures

    def check(self, data: bytes) -> Failure | None:
        """Run one input; what it broke, or None."""
        try:
            self._started = time.process_time()
            self._target.run(data)
        except self._target.accepted:
            pass
        except (Exception, TooSlowError) as error:
            return Failure(signature_of(error), _text_of(error), data)
        finally:
            took = time.process_time() - self._started
            self._started = 0.0
            self.result.slowest = max(self.result.slowest, took)
        if took > MAX_SECONDS:
            return Failure("too slow", f"{took:.2f} s of CPU", data)
        return None

    def _next_input(self) -> bytes:
        generate = self._target.generate
        if generate is not None and self._chance.random() < GENERATED:
            data = generate(self._chance)
            if self._chance.random() < 0.5:
                return data[: self._target.max_len]
        else:
            recent = self._chance.random() < 0.5  # what was found last leads on most often
            data = self._chance.choice(self._kept[-16:] if recent else self._kept)
        return self._mutator.mutate(data, self._chance.choice(self._kept))

    def _feed(self, data: bytes, *, traced: bool) -> bool:
        """Run one input; True if it is worth keeping."""
        self.result.inputs += 1
        failure: Failure | None = None
        is_new = False
        if traced and self._guided:
            found: list[Failure | None] = []
            is_new = self._lines.run(lambda: found.append(self.check(data)))
            failure = found[0]
            if failure and failure.signature == "too slow":
                failure = self.check(data)  # tracing is slow
        else:
            failure = self.check(data)
        if failure is None:
            return is_new
        known = self.result.failures.setdefault(failure.signature, failure)
        if known is failure:
            failure.after = (self.result.inputs, time.monotonic() - self._began)
        elif len(data) < len(known.data):
            known.data, known.text = data, failure.text
        return False

    def _minimised(self, failure: Failure) -> bytes:
        """A shorter input with the same signature: pieces left out, then bytes made plain."""
        data, tries = failure.data, 0
        deadline = time.monotonic() + MINIMISE_SECONDS

        def still_fails(shorter: bytes) -> bool:
            nonlocal tries
            tries += 1
            found = self.check(shorter)
            return found is not None and found.signature == failure.signature

        def may_go_on() -> bool:
            return tries < MINIMISE_TRIES and time.monotonic() < deadline

        size = max(1, len(data) // 2)
        while size and may_go_on():
            at, shortened = 0, False
            while at < len(data) and may_go_on():
                shorter = data[:at] + data[at + size :]
                if still_fails(shorter):
                    data, shortened = shorter, True
                else:
                    at += size
            if not shortened:
                size //= 2
        for at in range(len(data)):
            if not may_go_on():
                break
            plain = data[:at] + b"a" + data[at + 1 :]
            if data[at : at + 1] != b"a" and still_fails(plain):
                data = plain
        return data

    @contextmanager
    def _watch(self) -> Iterator[None]:
        """End an input that hangs; by CPU time, so that a busy machine does not count."""

        def look(_signal: int, _frame: FrameType | None) -> None:
            if self._started and time.process_time() - self._started > 4 * MAX_SECONDS:
                raise TooSlowError

        before = signal.signal(signal.SIGPROF, look)
        signal.setitimer(signal.ITIMER_PROF, HANG_LOOK, HANG_LOOK)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.signal(signal.SIGPROF, before)


def signature_of(error: BaseException) -> str:
    """What `error` is, the same for all inputs that run into it."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, TooSlowError):
        return "too slow"
    if isinstance(error, BrokenInvariantError):
        return error.rule
    where = "?"
    for frame in traceback.extract_tb(error.__traceback__):
        path = Path(frame.filename)
        if path.is_relative_to(ROOT) and ".venv" not in path.parts:
            where = f"{path.relative_to(ROOT)}:{frame.name}"
    return f"{type(error).__name__} in {where}"


def _text_of(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))[-1500:]
