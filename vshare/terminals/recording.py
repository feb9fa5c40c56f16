"""`--record FILE`: what a terminal showed, as asciicast v2, which asciinema plays.

Only what the program wrote is in it, never what was typed.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

from tunnel.errors import UsageError

MAX_RECORDING = 256 * 1024 * 1024  # bytes; what comes later is not recorded


class Recording:
    """A file that is written as it happens: what was recorded of a killed share can be played.

    It is the sharer's alone (mode 0600). Raises UsageError where it cannot be made; a file that is
    there already is not overwritten.
    """

    def __init__(
        self,
        path: Path,
        columns: int,
        rows: int,
        title: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.path = path
        self.failed = ""  # why nothing more is recorded
        self._clock = clock
        self._began = clock()
        self._size = 0
        try:
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise UsageError(
                f"cannot record to {path}: {(error.strerror or '').lower()}",
                "give the name of a file that is not there yet",
            ) from error
        self._file = os.fdopen(file, "wb", buffering=0)
        header = {"version": 2, "width": columns, "height": rows, "timestamp": int(time.time())}
        self._write({**header, "title": title, "env": {"TERM": "xterm-256color"}})

    def output(self, data: bytes) -> None:
        """What the program wrote: whole characters and sequences."""
        self._event("o", data.decode("utf-8", "replace"))

    def resized(self, columns: int, rows: int) -> None:
        """The terminal has another size."""
        self._event("r", f"{columns}x{rows}")

    def close(self) -> None:
        """Nothing more comes. Idempotent."""
        self._file.close()

    def _event(self, kind: str, data: str) -> None:
        self._write([round(self._clock() - self._began, 6), kind, data])

    def _write(self, value: object) -> None:
        line = json.dumps(value, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
        if self.failed or self._file.closed:
            return
        if self._size + len(line) > MAX_RECORDING:
            self.failed = f"it has {MAX_RECORDING // 2**20} MiB already"
            return
        try:
            self._file.write(line)
            self._size += len(line)
        except OSError as error:
            self.failed = (error.strerror or "").lower()
