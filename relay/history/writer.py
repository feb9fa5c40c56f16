"""The thread that writes a relay's history: whatever the disk does, nobody else waits for it.

It has one batch at a time. One that cannot be written now is tried again until it can: meanwhile
the next grows, up to a limit (relay/history/recorder.py).
"""

from __future__ import annotations

import logging
import queue
import sqlite3
import threading
import time
from contextlib import suppress
from pathlib import Path

from relay.history.rows import Batch
from relay.history.store import BROKEN, Store, set_aside
from tunnel.errors import VshareError

RETRY_EVERY = 5.0  # seconds between tries to write
WARN_EVERY = 600.0  # seconds between warnings while it fails
CLOSE_WITHIN = 5.0  # seconds in which the last rows are written, or left
FORGET_EVERY = 600.0  # seconds between looks for what is too old or too much
FORGET_AFTER = 20_000  # rows written, if those come sooner
DAY = 86_400.0  # seconds
_UNUSABLE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
# The disk's fault, or another program's: it may be over later. Others are faults of a batch.
_PASSING = (
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_READONLY,
)

log = logging.getLogger(__name__)


class Writer:
    """Keeps the history of `days` in the state directory `folder`. `close` it in the end."""

    def __init__(self, folder: Path, days: int) -> None:
        self._folder, self._days = folder, days
        self._batches: queue.SimpleQueue[Batch | None] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._store: Store | None = None
        self._base: int | None = None  # of the rows' IDs, once it is known
        self._failing_since = 0.0  # monotonic; 0: it works
        self._warned = 0.0
        self._forget_at = 0.0  # monotonic
        self._written = 0  # rows, since the last look
        self.is_free = True  # takes a batch
        self.has_gaps = False  # the tables lack something, perhaps of what lasts
        self._thread = threading.Thread(target=self._run, name="history", daemon=True)
        self._thread.start()
        self.write(Batch())  # what a relay that was killed has left is ended

    def write(self, batch: Batch) -> None:
        """Have it written. The writer `is_free`; it is not again before that is done."""
        self.is_free = False
        self._batches.put(batch)

    def close(self, last: Batch) -> None:
        """The end, when `last` is written as well, if that is possible now; waits for it."""
        self._closing.set()
        self._batches.put(last)
        self._batches.put(None)
        self._thread.join(CLOSE_WITHIN)
        if self._thread.is_alive():
            log.warning("the history's disk does not answer: its last rows are not written")

    def _run(self) -> None:
        while (batch := self._batches.get()) is not None:
            while not self._try(batch):
                if self._closing.is_set():
                    log.warning("the last %d rows of the history are not written", len(batch))
                    break
                self._closing.wait(RETRY_EVERY)
            self.is_free = True
        if self._store is not None:
            with suppress(sqlite3.Error):
                self._store.close()

    def _try(self, batch: Batch) -> bool:
        """Write it; False: not now."""
        try:
            if self._store is None:
                self._store = Store(self._folder, self._base)
                self._base = self._store.base
            self._store.write(batch)
            self._maybe_forget(self._store, len(batch))
        except (OSError, sqlite3.Error, VshareError) as error:
            return self._handle(error)
        except Exception:  # a fault of ours costs the batch, not the history
            log.exception("rows of the history were left out")
            self.has_gaps = True
        if self._failing_since:
            self._failing_since = 0.0
            log.warning("the history in %s is written again", self._folder)
        return True

    def _handle(self, error: Exception) -> bool:
        """What became of the batch that could not be written: False, it may be tried again."""
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_IOERR) & 0xFF
        if self._store is not None:
            with suppress(sqlite3.Error):
                self._store.close()
            self._store = None
        if code in _UNUSABLE:
            return self._begin_anew(error)
        if code not in _PASSING:
            log.warning("rows of the history were left out: %s", error)
            self.has_gaps = True
            return True
        self._warn(error)
        return False

    def _begin_anew(self, error: Exception) -> bool:
        try:
            set_aside(self._folder)
        except OSError as failure:
            self._warn(failure)
            return False
        self.has_gaps = True
        log.warning(
            "the history was broken (%s): what there was is in %s now", error, self._folder / BROKEN
        )
        return self._closing.is_set()  # then there is no other try

    def _warn(self, error: Exception) -> None:
        now = time.monotonic()
        if not self._failing_since:
            self._failing_since = now
        elif now - self._warned < WARN_EVERY:
            return
        self._warned = now
        log.warning(
            "the history in %s cannot be written (%s): the relay goes on without",
            self._folder,
            error,
        )

    def _maybe_forget(self, store: Store, rows: int) -> None:
        """Drop a few thousand rows that are too many, again and again as long as there are more."""
        self._written += rows
        now = time.monotonic()
        if now < self._forget_at and self._written < FORGET_AFTER:
            return
        if not store.forget(time.time() - self._days * DAY):
            self._forget_at, self._written = now + FORGET_EVERY, 0
