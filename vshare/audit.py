"""The audit log of a share: a file on the sharer's machine that nothing is changed in unnoticed.

One file per share, in the folder `log` of vshare's state directory. What is written and why it
holds together is in vshare/audit_chain.py. The log never stands in the share's way: what cannot
be written is counted, and the count is written as soon as that works again.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import platformdirs

from vshare.audit_chain import MAX_LINE, START, Entry, digest, serialize
from vshare.news import News, Value

MAX_BYTES = 256 * 2**20  # of a file; about a million streams
CHUNK = 4 * MAX_LINE  # bytes read at once of a log that is followed
MAX_SAME_SECOND = 100  # shares of one name that start in the same second
BULK = frozenset({"stream", "refused"})  # what guests can cause without end
_FILE_NAME = re.compile(r"(?P<name>.+)-(?P<start>\d{8}T\d{6}Z)(?:-(?P<turn>\d{1,3}))?\.jsonl")

Warn = Callable[[str], None]


class AuditLog:
    """Writes what it is told, a line each. A context manager; `news` subscribes to a Newsroom.

    No method raises: the first OSError is told to `warn`, the share goes on.
    """

    def __init__(
        self,
        path: Path,
        warn: Warn,
        *,
        clock: Callable[[], float] = time.time,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        """`clock` gives seconds since the epoch. See `open_log`."""
        self.path = path  # of another number, if this one is taken when it is opened
        self.head = START  # the hash of the last line
        self._warn = warn
        self._clock = clock
        self._max_bytes = max_bytes
        self._file = -1
        self._lines = 0
        self._size = 0  # bytes that are whole lines
        self._torn = False  # more than those may be in the file
        self._missed = 0  # lines that could not be written
        self._omitted = 0  # lines that the file had no room for
        self._has_warned = False
        self._is_closed = False

    def __enter__(self) -> AuditLog:
        with self._counting():
            self._open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Write what is missing, if that works now, and close the file. Idempotent."""
        if self._is_closed:
            return
        with self._counting():
            self._tell_gap()
        self._is_closed = True
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def rename(self, name: str) -> None:
        """Be found as the log of the share `name`, if there is none of that second already; lines
        go on as before."""
        path = self.path.with_name(self.path.name.replace(share_of(self.path), name, 1))
        if self._file < 0:  # it is to be made yet
            self.path = path
            return
        with contextlib.suppress(OSError):
            os.link(self.path, path)  # unlike rename(2) it replaces nothing
            self.path.unlink()
            self.path = path

    def news(self, news: News) -> None:
        """Write a line for `news`. Its text is for people, and left out but for a notice, which
        has nothing else."""
        if self._is_closed:
            return
        if news.kind in BULK and self._size >= self._max_bytes:
            self._omitted += 1
            return
        fields = dict(news.fields)
        if news.kind == "notice":
            fields.setdefault("text", news.text)
        with self._counting(1):
            self._tell_gap()
            self._append(news.kind, fields)

    @contextlib.contextmanager
    def _counting(self, lines: int = 0) -> Iterator[None]:
        """`lines` are missed if it cannot be written; the sharer hears of the first time."""
        try:
            yield
        except OSError as error:
            self._missed += lines
            if not self._has_warned:
                self._has_warned = True  # before the call: it may come back here as news
                reason = (error.strerror or str(error)).lower()
                self._warn(f"the audit log {self.path} cannot be written: {reason}")

    def _tell_gap(self) -> None:
        if self._missed or self._omitted:
            self._append("gap", {"missed": self._missed, "omitted": self._omitted})
            self._missed = self._omitted = 0

    def _append(self, event: str, fields: Mapping[str, Value]) -> None:
        """One line in one write, so that a killed process leaves at most one unfinished, the
        last. Raises OSError, and then the line is not there."""
        if self._file < 0:
            self._open()
        if self._torn:
            os.ftruncate(self._file, self._size)
            self._torn = False
        now = round(self._clock(), 3)
        line = serialize(Entry(self._lines, now, event, fields, self.head))
        self._torn = True
        if os.write(self._file, line) < len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._torn = False
        self.head = digest(line)
        self._lines += 1
        self._size += len(line)

    def _open(self) -> None:
        """Make the file, under a name that is not taken. Raises OSError."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
        first = self.path
        for turn in range(1, MAX_SAME_SECOND + 1):
            path = first if turn == 1 else first.with_stem(f"{first.stem}-{turn}")
            with contextlib.suppress(FileExistsError):
                self._file = os.open(path, flags, 0o600)
                self.path = path
                return
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))


def log_directory() -> Path:
    """Where the logs of this user's shares are."""
    return platformdirs.user_state_path("vshare", appauthor=False) / "log"


def open_log(
    name: str,
    warn: Warn,
    *,
    directory: Path | None = None,
    clock: Callable[[], float] = time.time,
    max_bytes: int = MAX_BYTES,
) -> AuditLog:
    """A log for the share `name`, to be used with `with`, which makes the file.

    `warn` is called at most once, with a sentence. Where no file can be made the log goes on
    trying with each line, and says later how many were missed.
    """
    start = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(clock()))
    path = (directory or log_directory()) / f"{name}-{start}.jsonl"
    return AuditLog(path, warn, clock=clock, max_bytes=max_bytes)


def log_files(name: str = "", directory: Path | None = None) -> list[Path]:
    """The logs of the share `name`, or of all, the oldest first. Raises OSError."""
    found: list[tuple[str, int, str, Path]] = []
    with contextlib.suppress(FileNotFoundError):
        for path in (directory or log_directory()).iterdir():
            match = _FILE_NAME.fullmatch(path.name)
            if match and name in ("", match["name"]):
                found.append((match["start"], int(match["turn"] or 1), match["name"], path))
    return [path for *_, path in sorted(found)]


def share_of(path: Path) -> str:
    """The name of the share whose log is at `path`; empty for a file of another name."""
    match = _FILE_NAME.fullmatch(path.name)
    return match["name"] if match else ""


def read_lines(file: BinaryIO) -> Iterator[bytes]:
    """The lines of `file`, with their newlines; of one that is too long, enough to see that."""
    while line := file.readline(MAX_LINE + 1):
        yield line
        while len(line) > MAX_LINE and not line.endswith(b"\n"):
            line = file.readline(MAX_LINE + 1)


def tail_lines(file: BinaryIO) -> Iterator[bytes]:
    """The lines of `file`, as `read_lines`, without end: empty when there is no more for now.

    An unfinished line is waited for, and read anew: the log takes back what it could not
    finish.
    """
    offset, skips = 0, False
    while True:
        chunk = os.pread(file.fileno(), CHUNK, offset)
        end = chunk.rfind(b"\n") + 1
        if not end and len(chunk) <= MAX_LINE:
            yield b""
            continue
        whole = chunk[:end] or chunk[: MAX_LINE + 1]
        offset += end or len(chunk)
        for number, line in enumerate(io.BytesIO(whole)):
            if number or not skips:
                yield line
        skips = not end
