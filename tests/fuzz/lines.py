"""Which lines an input reaches: what tells an input worth keeping from one that is not.

By sys.settrace, the only means that Python 3.11 has; it slows the traced modules down about
tenfold, so the runner uses it on a sample.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterable
from types import CodeType, FrameType
from typing import Any, TypeAlias

Step: TypeAlias = tuple[CodeType, int, int]  # from line to line of one function
_Trace: TypeAlias = Callable[[FrameType, str, Any], Any]


class Lines:
    """The steps from line to line that were seen in some modules."""

    def __init__(self, modules: Iterable[str]) -> None:
        found = (importlib.import_module(name).__file__ for name in modules)
        self._files = {file for file in found if file}
        self.seen: set[Step] = set()

    def run(self, call: Callable[[], None]) -> bool:
        """Call it; True if it took a step that is new. What it raises passes."""
        now: set[Step] = set()
        before = sys.gettrace()
        sys.settrace(self._tracer(now))
        try:
            call()
        finally:
            sys.settrace(before)
            is_new = not now <= self.seen
            self.seen |= now
            self.was_new = is_new
        return is_new

    was_new = False  # of the last run, also where it raised

    def _tracer(self, now: set[Step]) -> _Trace:
        files = self._files

        def on_call(frame: FrameType, event: str, argument: object) -> Any:
            code = frame.f_code
            if code.co_filename not in files:
                return None
            last = 0

            def on_line(frame: FrameType, event: str, argument: object) -> Any:
                nonlocal last
                now.add((code, last, frame.f_lineno if event != "exception" else -1))
                last = frame.f_lineno
                return on_line

            return on_line

        return on_call
