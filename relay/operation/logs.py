"""The relay's log on stderr, for programs: a line for each event, and nobody waits for its reader.

Lines are written by a thread; those that find the queue full are left out, as are those that one
cause makes too many of, and the next line says how many.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import sys
import threading
import time
from collections.abc import Iterator
from typing import TextIO

from relay.operation.log_lines import JsonLines, Lines, TextLines

FORMATS = ("text", "json")
MAX_QUEUED = 4_096  # lines; a reader that is so far behind misses some
BURST = 200  # lines of one kind at once: strangers can cause as many as they like
REFILL_SECONDS = 0.1  # for one more
MAX_KINDS = 512  # remembered: the kinds are in the code, so this is never reached
DRAIN_WITHIN = 2.0  # seconds at the end, for what is queued


class Pace(logging.Filter):
    """A token bucket for each kind of record: where it was logged, and as which event."""

    def __init__(self) -> None:
        super().__init__()
        self._kinds: dict[tuple[str, str], tuple[float, float]] = {}  # tokens, at
        self._left_out: dict[tuple[str, str], int] = {}
        self.left_out = 0  # in all

    def filter(self, record: logging.LogRecord) -> bool:
        """See logging.Filter: whether it may be written."""
        kind = record.name, str(getattr(record, "event", record.msg))
        if kind not in self._kinds and len(self._kinds) >= MAX_KINDS:
            kind = "", ""
        now = time.monotonic()
        tokens, at = self._kinds.get(kind, (float(BURST), now))
        tokens = min(BURST, tokens + (now - at) / REFILL_SECONDS)
        if tokens < 1:
            self._left_out[kind] = self._left_out.get(kind, 0) + 1
            self.left_out += 1
            return False
        self._kinds[kind] = (tokens - 1, now)
        record.left_out = self._left_out.pop(kind, 0)
        return True


class Writer(logging.Handler):
    """Formats at once, since what is logged may change, and writes in a thread."""

    def __init__(self, stream: TextIO, lines: Lines) -> None:
        super().__init__()
        self._stream = stream
        self.setFormatter(lines)
        self._queue = queue.Queue[str | None](MAX_QUEUED)
        self.dropped = 0
        self._thread = threading.Thread(target=self._write, name="log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """See logging.Handler."""
        try:
            self._queue.put_nowait(self.format(record))
        except queue.Full:
            self.dropped += 1
        except Exception:  # a record that cannot be formatted is no reason to end anything
            self.handleError(record)

    def _write(self) -> None:
        told = 0
        while (line := self._queue.get()) is not None:
            if (dropped := self.dropped) > told:
                line += f"\n{self.format(_dropped(dropped - told))}"
                told = dropped
            try:
                self._stream.write(f"{line}\n")
                self._stream.flush()
            except (OSError, ValueError):  # closed: what goes on is not ended by that
                pass

    def close(self) -> None:
        """Write what is queued, but wait for no reader that reads no more."""
        with contextlib.suppress(queue.Full):
            self._queue.put(None, timeout=DRAIN_WITHIN)
            self._thread.join(DRAIN_WITHIN)
        super().close()


def _dropped(count: int) -> logging.LogRecord:
    text = "lines were left out, because nobody read them"
    record = logging.LogRecord(__name__, logging.WARNING, "", 0, text, None, None)
    record.left_out = count
    return record


@contextlib.contextmanager
def log_to(
    kind: str, *, verbose: bool = False, hide_sources: bool = False, stream: TextIO | None = None
) -> Iterator[Pace]:
    """While the block runs all loggers write to `stream` (stderr) as `kind` has it, from INFO on;
    with `verbose`, from DEBUG on."""
    lines = (JsonLines if kind == "json" else TextLines)(hide_sources=hide_sources)
    root, pace = logging.getLogger(), Pace()
    writer = Writer(stream or sys.stderr, lines)
    writer.addFilter(pace)
    handlers, level = root.handlers[:], root.level
    root.handlers[:] = [writer]
    root.setLevel(logging.DEBUG if verbose else logging.INFO)
    try:
        yield pace
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        writer.close()
