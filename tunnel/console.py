"""How the commands talk to people and to scripts, and how they end.

Results (a name, a URL, an address) go to stdout, the story to stderr. With --json stdout
carries one JSON object per line and nothing else. Text that came from another machine loses
its control characters before it reaches a terminal.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import json
import logging
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import nullcontext
from typing import TextIO

import uvloop

from tunnel.bottom_line import BottomLine, open_terminal, terminal_width
from tunnel.errors import RefusedError, VshareError

EXIT_OK = 0
EXIT_FAILURE = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells count

MAX_MACHINE = 64  # characters of what stands before each line

_BOLD, _RED, _RESET = "\x1b[1m", "\x1b[31m", "\x1b[0m"


def printable(text: str) -> str:
    """`text` without control characters."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def _has_colour(stream: TextIO) -> bool:
    """Colour is for terminals whose user did not decline it (https://no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _has_room(stream: TextIO) -> bool:
    """Whether a line can be printed at once: a pipe takes PIPE_BUF bytes then (pipe(7))."""
    poll = select.poll()
    try:
        poll.register(stream.fileno(), select.POLLOUT)
    except (OSError, ValueError):  # no file, or closed: printing finds out
        return True
    return bool(poll.poll(0))


def _say(line: str, stream: TextIO, *, wait: bool = True) -> bool:
    """Print a line; whether there was room for all of it. A terminal that was closed, or a reader
    that has gone, ends nothing: what runs goes on, and ends in good order when it is told to."""
    try:
        with open_terminal(stream) if not wait else nullcontext() as terminal:
            if terminal is None:
                print(line, file=stream, flush=True)
                return True
            data = f"{line}\n".encode(stream.encoding, "backslashreplace")
            return os.write(terminal, data) == len(data)
    except BlockingIOError:
        return False  # it is full, and does not block
    except OSError:
        # What is still in the stream's buffer would fail again, when the interpreter ends.
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), stream.fileno())
        return True


class Console:
    """The screen of one command. `machine` stands before each line, as Vagrant has it."""

    def __init__(self, machine: str, *, as_json: bool = False, verbose: bool = False) -> None:
        self.machine = machine
        self.as_json = as_json
        self.verbose = verbose
        self.waits_for_reader = True  # false while something runs that must not stand still
        self._bold = _has_colour(sys.stdout)
        self._left_out = {True: 0, False: 0}  # lines, of stdout and of stderr
        self._lines: list[BottomLine] = []  # one at most; shared with those beside
        self._marks: dict[str, object] = {}  # of each event
        self.questions = asyncio.Lock()  # one at a time, on one screen

    @property
    def machine(self) -> str:
        """What stands before each line."""
        return self._machine

    @machine.setter
    def machine(self, name: str) -> None:  # a share says what those beside it are called
        self._machine = printable(name[:MAX_MACHINE])

    def beside(self, machine: str) -> Console:
        """The same screen for another machine, whose events say so."""
        other = copy.copy(self)
        other.machine = machine
        other._marks = {"machine": machine}
        return other

    def _say(self, line: str, stream: TextIO) -> None:
        """Print a line, or leave it out where nobody reads, and say so later."""
        self.make_room()
        is_result = stream is sys.stdout
        count = self._left_out[is_result]
        if not self.waits_for_reader and not _has_room(stream):
            self._left_out[is_result] = count + 1
            return
        if count:
            self._left_out[is_result] = 0
            note = (
                f"    {self.machine}: {count} lines were left out here, because nobody read them."
            )
            if stream.isatty():
                note = f"\n{note}"  # of the line before a part may be there
            if is_result and self.as_json:
                note = json.dumps({"event": "left-out", "lines": count})
            _say(note, stream, wait=self.waits_for_reader)
        if not _say(line, stream, wait=self.waits_for_reader):
            self._left_out[is_result] += 1

    def step(self, text: str) -> None:
        """Something begins or has happened."""
        self._say(f"==> {self.machine}: {printable(text)}", sys.stderr)

    def detail(self, text: str) -> None:
        """More about the step above."""
        self._say(f"    {self.machine}: {printable(text)}", sys.stderr)

    @contextlib.contextmanager
    def busy(self, text: str) -> Iterator[None]:
        """Show a terminal that something takes its time, and how long so far."""
        began = time.monotonic()
        with self._bottom_line(lambda: f"{text}... {time.monotonic() - began:.0f} s"):
            yield

    @contextlib.contextmanager
    def live(self, look: Callable[[], str]) -> Iterator[bool]:
        """Keep what `look` gives at the bottom of the screen, and ask it twice a second; whether
        there is a screen for it: not with --json, nor where another program has our stdout, and
        may write to the same terminal."""
        with contextlib.ExitStack() as stack:
            shown = not self.as_json and sys.stdout.isatty()
            yield shown and stack.enter_context(self._bottom_line(look))

    @contextlib.contextmanager
    def _bottom_line(self, look: Callable[[], str]) -> Iterator[bool]:
        """Whether there is one. With -v, others' lines come too often for it."""
        with open_terminal(sys.stderr) as terminal:
            rewrites = os.environ.get("TERM") != "dumb"
            if terminal is None or not rewrites or self.verbose or self._lines:
                yield False
                return
            line = BottomLine(terminal, lambda: printable(look()), dim=self.has_colour)
            self._lines.append(line)
            line.start()
            try:
                yield True
            finally:
                line.stop()
                self._lines.remove(line)

    @contextlib.contextmanager
    def asking(self) -> Iterator[None]:
        """The screen is for a question inside: lines still come, but nothing is rewritten."""
        with contextlib.ExitStack() as stack:
            for line in self._lines:
                stack.enter_context(line.paused())
            yield

    def make_room(self) -> None:
        """Somebody else prints a line now."""
        for line in self._lines:
            line.hide()

    @property
    def has_colour(self) -> bool:
        """Whether what goes to stderr may have colours."""
        return _has_colour(sys.stderr)

    @property
    def columns(self) -> int:
        """The width of the terminal that stderr is; 0 where it is none."""
        return terminal_width(sys.stderr.fileno()) if sys.stderr.isatty() else 0

    @property
    def shows_pictures(self) -> bool:
        """Whether stderr is a terminal with block characters, as far as its locale tells."""
        with contextlib.suppress(UnicodeEncodeError):
            "\u2588".encode(sys.stderr.encoding)
            return sys.stderr.isatty()
        return False

    def draw(self, line: str) -> None:
        """A line of a picture, with its colours: nothing that another machine has said."""
        self._say(line, sys.stderr)

    def warn(self, text: str) -> None:
        """Something the user should know, which ends nothing."""
        self.step(f"Warning: {text}")

    def result(self, label: str, value: str, **event: object) -> None:
        """A result for people; with --json, `event` in its place."""
        if self.as_json:
            self.event(**event)
            return
        value = printable(value)
        shown = f"{_BOLD}{value}{_RESET}" if self._bold else value
        self._say(f"==> {self.machine}: {label} {shown}", sys.stdout)

    def event(self, **event: object) -> None:
        """One line of JSON, with --json; nothing for people."""
        if self.as_json and event:
            self._say(json.dumps(self._marks | event), sys.stdout)

    def error(self, error: VshareError) -> None:
        """What went wrong, and what to do next."""
        colour = _has_colour(sys.stderr)
        start, end = (_RED, _RESET) if colour else ("", "")
        self._say(f"{start}error:{end} {printable(error.text)}", sys.stderr)
        if error.hint:
            self._say(f"hint: {printable(error.hint)}", sys.stderr)
        code = error.code.name.lower().replace("_", "-") if isinstance(error, RefusedError) else ""
        event = {"event": "error", "text": error.text, "hint": error.hint}
        self.event(**event | ({"code": code} if code else {}))


class Interrupt:
    """Ctrl-C, SIGTERM and a closed terminal: while something is being set up they cancel it; while
    it runs they end it in good order; the second one ends the process at once, after `leave`."""

    def __init__(self, leave: Callable[[], None] = lambda: None) -> None:
        self._leave = leave
        self.stopped = asyncio.Event()
        self.serving = False
        self._count = 0

    def install(self, task: asyncio.Task[None]) -> None:
        """Handle the signals for `task`, the command's work."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._received, task)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup(1): the terminal may go
            loop.add_signal_handler(signal.SIGHUP, self._stop, task)

    def _received(self, task: asyncio.Task[None]) -> None:
        self._count += 1
        if self._count > 1:
            self._leave()
            os._exit(EXIT_INTERRUPTED)
        self._stop(task)

    def _stop(self, task: asyncio.Task[None]) -> None:
        """Also for a closed terminal, which says so twice: by its shell, and by the kernel."""
        self.stopped.set()
        if not self.serving:
            task.cancel()


def run(console: Console, work: Callable[[Interrupt], Coroutine[None, None, None]]) -> int:
    """Run a command's `work` to its end; the exit code. Tracebacks only with -v."""
    configure_logging(console.verbose, console.make_room)

    async def main() -> bool:
        interrupt = Interrupt(console.make_room)
        async with asyncio.TaskGroup() as group:
            interrupt.install(group.create_task(work(interrupt), name="command"))
        return interrupt.stopped.is_set() and not interrupt.serving

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            interrupted = runner.run(main())
    except KeyboardInterrupt:  # before the handlers were there
        interrupted = True
    except BaseExceptionGroup as group:
        return _report(console, group)
    if interrupted:
        print("interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    return EXIT_OK


def _report(console: Console, group: BaseExceptionGroup[BaseException]) -> int:
    """The first expected error is shown alone; a fault of ours shows where it happened."""
    expected, other = group.split(VshareError)
    if other is not None:
        if console.verbose:
            raise group
        leaf = _first(other)
        console.error(
            VshareError(
                f"something went wrong inside: {type(leaf).__name__}: {leaf}",
                "run it again with -v to see where, and report it",
            )
        )
        return EXIT_FAILURE
    error = _first(expected or group)
    if not isinstance(error, VshareError):
        raise group
    if console.verbose:
        logging.getLogger("vshare").debug("ended by", exc_info=error)
    console.error(error)
    return error.exit_code


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    inner: BaseException = group
    while isinstance(inner, BaseExceptionGroup):
        inner = inner.exceptions[0]
    return inner


class _PrintableFormatter(logging.Formatter):
    """Log lines hold words of other machines: no control characters but the line's own."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (logging's name)
        return printable(super().formatMessage(record))


class _Handler(logging.StreamHandler[TextIO]):
    """`make_room` is called before each line."""

    def __init__(self, make_room: Callable[[], None]) -> None:
        super().__init__(sys.stderr)
        self._make_room = make_room

    def emit(self, record: logging.LogRecord) -> None:
        self._make_room()
        super().emit(record)


def configure_logging(verbose: bool, make_room: Callable[[], None]) -> None:
    """Warnings of ours to stderr; with -v everything down to debug, never payload or secrets."""
    handler = _Handler(make_room)
    handler.setFormatter(_PrintableFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.WARNING, handlers=[handler], force=True
    )
    for chatty in ("asyncssh", "websockets", "uvicorn", "asyncio"):
        logging.getLogger(chatty).setLevel(logging.INFO if verbose else logging.ERROR)
