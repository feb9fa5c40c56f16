"""`vshare log`: reads and checks the audit logs on this host."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import click

from tunnel.console import printable
from tunnel.errors import UsageError, VshareError
from vshare.audit import log_directory, log_files, read_lines, share_of, tail_lines
from vshare.audit_chain import MAX_HEAD, MIN_HEAD, BadLineError, parse, verify
from vshare.audit_words import sentence, size
from vshare.default_command import DefaultCommand

POLL = 0.2  # seconds between looks at a log that is followed
_LIST_HINT = "`vshare log list` shows the logs that there are"


# A share that is called `list` is read by `vshare log show list`.
@click.group(cls=DefaultCommand, default="show")
def log() -> None:
    """Read the audit log of a share.

    `vshare log` with a share's name, a file or neither is `vshare log show`.
    """


@log.command()
@click.argument("log_of", metavar="[NAME|FILE]", required=False)
@click.option("-f", "--follow", is_flag=True, help="go on as the share does, until it ends")
@click.option("--json", "as_json", is_flag=True, help="the lines as they are in the file")
def show(log_of: str | None, follow: bool, as_json: bool) -> None:
    """Print what happened in a share, an event a line; of the newest share by default."""
    path = _find(log_of)
    with _reading(path) as file, _printing():
        for line in _followed(file) if follow else read_lines(file):
            if line:
                print(_escaped(line) if as_json else _in_words(line))
            else:
                sys.stdout.flush()


@log.command("verify")
@click.argument("log_of", metavar="[NAME|FILE]", required=False)
@click.option("--head", metavar="HEX", default="", help="the head that the sharer or a guest has")
@click.option("--json", "as_json", is_flag=True, help="one JSON object on stdout")
def verify_log(log_of: str | None, head: str, as_json: bool) -> None:
    """Check that nothing was changed in a log.

    Without --head a log whose end was cut, or all of which was written anew, cannot be told
    from one that is whole.
    """
    if head and not _is_head(head):
        raise UsageError(
            f"not the head of a log: {head!r}",
            f"it has {MAX_HEAD} hex digits, of which the first {MIN_HEAD} are enough",
        )
    path = _find(log_of)
    with _reading(path) as file:
        verdict = verify(read_lines(file), head)
    if verdict.problem:
        raise VshareError(
            f"line {verdict.lines + 1} of {path} {verdict.problem}", _what_holds(verdict.lines)
        )
    if head and verdict.following is None:
        raise VshareError(
            f"the head {head} does not occur in {path}, whose {_lines(verdict.lines)} are in order",
            "it is the head of another log, or lines were cut off this one, or it was written anew",
        )
    if as_json:
        found = {"lines": verdict.lines, "head": verdict.head, "following": verdict.following}
        with _printing():
            print(json.dumps({"event": "verified", "path": str(path), **found}))
        return
    with _printing():
        print(printable(f"{path}: {_lines(verdict.lines)} in order"))
        print(f"head: {verdict.head}")
        if head:
            print(f"the head that was asked for is there; {_lines(verdict.following)} after it")


@log.command("list")
@click.option("--json", "as_json", is_flag=True, help="one JSON object per line on stdout")
def list_logs(as_json: bool) -> None:
    """Show which logs there are, the oldest first."""
    with _translated(log_directory()):
        logs = [(path, path.stat()) for path in log_files()]
    width = max((len(share_of(path)) for path, _ in logs), default=0)
    with _printing():
        for path, stat in logs:
            if as_json:
                found = {"share": share_of(path), "path": str(path), "bytes": stat.st_size}
                print(json.dumps({"event": "log", **found, "changed": round(stat.st_mtime, 3)}))
                continue
            name = share_of(path).ljust(width)
            print(printable(f"{_moment(stat.st_mtime)}  {name}  {size(stat.st_size):>9}  {path}"))


def _find(log_of: str | None) -> Path:
    """The log that is meant: of a share by its name, the newest there is; or a file, here or
    among the logs. Raises VshareError."""
    folder = log_directory()
    with _translated(folder):
        if log_of is None:
            logs = log_files()
            if not logs:
                raise VshareError(
                    f"no share has left a log in {folder}", "`vshare up` writes one for each share"
                )
            return logs[-1]
        is_file = os.sep in log_of or log_of.endswith(".jsonl")
        if not is_file and (logs := log_files(log_of)):
            return logs[-1]
        for path in (Path(log_of), folder / log_of):
            if path.exists():
                return path
    if is_file:
        raise VshareError(f"there is no file {log_of!r}", _LIST_HINT)
    raise VshareError(f"there is no log of a share {log_of!r}, and no such file", _LIST_HINT)


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[BinaryIO]:
    with _translated(path), path.open("rb") as file:
        yield file


@contextlib.contextmanager
def _translated(path: Path) -> Iterator[None]:
    """What the file system says becomes a VshareError; a pipe's end is no such thing."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise VshareError(f"cannot read {path}: {reason}", _LIST_HINT) from error


@contextlib.contextmanager
def _printing() -> Iterator[None]:
    """Ctrl-C ends it in good order, and so does whoever reads our output and has enough."""
    try:
        yield
        sys.stdout.flush()
    except KeyboardInterrupt:
        with contextlib.suppress(BrokenPipeError):
            sys.stdout.flush()
    except BrokenPipeError:
        # What is still buffered would fail again when Python exits.
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())


def _followed(file: BinaryIO) -> Iterator[bytes]:
    """The lines of a log that is being written, up to the share's end; empty before a wait."""
    has_ended = False
    for line in tail_lines(file):
        if not line and has_ended:
            return
        yield line
        if not line:
            time.sleep(POLL)
        has_ended = has_ended or _event_of(line) == "ended"


def _event_of(line: bytes) -> str:
    with contextlib.suppress(BadLineError):
        return parse(line).event
    return ""


def _in_words(line: bytes) -> str:
    try:
        entry = parse(line)
    except BadLineError as error:
        return f"{'?':19}  this line {error}"
    return printable(f"{_moment(entry.time)}  {sentence(entry, _moment)}")


def _escaped(line: bytes) -> str:
    """The line as it is: those of ours are ASCII. A control character in another file is
    escaped, as JSON may have it."""
    text = line.decode(errors="replace").rstrip("\n")
    return "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in text)


def _moment(at: float) -> str:
    """Seconds since the epoch as the clock of this host shows them."""
    try:
        return datetime.datetime.fromtimestamp(at).isoformat(" ", "seconds")
    except (ValueError, OverflowError, OSError):  # OSError: the C library's own limit
        return "?".ljust(19)


def _is_head(text: str) -> bool:
    return MIN_HEAD <= len(text) <= MAX_HEAD and all(c in "0123456789abcdefABCDEF" for c in text)


def _lines(count: int | None) -> str:
    return "1 line" if count == 1 else f"{count} lines"


def _what_holds(lines: int) -> str:
    if not lines:
        return "nothing in this file can be relied on"
    return f"the {_lines(lines)} before it are in order" if lines > 1 else "line 1 is in order"
