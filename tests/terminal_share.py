"""A share in a thread of its own whose terminals run programs of this very machine."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import pty
import signal
import struct
import termios
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import uvloop

from tests.loops import do_in
from tests.share_pair import CODE, NAME, Pair, share_pair
from vshare.guests import Guest
from vshare.terminals.terminal import SharedTerminal, Terms

COMMAND_WITHIN = 10.0  # seconds for something to be done in the share's loop


class LocalProgram:
    """A command on a pty of this machine's, in a shared terminal. Made in the loop."""

    def __init__(self, terminal: SharedTerminal, command: list[str]) -> None:
        self._terminal = terminal
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            environment = {"PATH": os.environ["PATH"], "TERM": "xterm-256color", "PS1": "$ "}
            os.execvpe(command[0], command, environment | {"LANG": "C.UTF-8", "HOME": "/nowhere"})
        os.set_inheritable(self._fd, False)  # another program's end must not keep it open
        self._loop = asyncio.get_running_loop()
        self._is_over = False
        self.resume()
        terminal.run(self)

    def write(self, data: bytes) -> None:
        """See Program."""
        with contextlib.suppress(OSError):
            os.write(self._fd, data)

    def resize(self, columns: int, rows: int) -> None:
        """See Program."""
        fcntl.ioctl(self._fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def pause(self) -> None:
        """See Program."""
        if not self._is_over:
            self._loop.remove_reader(self._fd)

    def resume(self) -> None:
        """See Program."""
        if not self._is_over:
            self._loop.add_reader(self._fd, self._read)

    def close(self) -> None:
        """See Program."""
        if not self._is_over:
            self._is_over = True
            self._loop.remove_reader(self._fd)
            os.close(self._fd)  # hangs up
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)

    def _read(self) -> None:
        try:
            data = os.read(self._fd, 65536)
        except OSError:  # the command has ended (pty(7))
            data = b""
        if data:
            self._terminal.output(data)
        else:
            self._terminal.ended("the shell has ended")


@dataclass
class TerminalShare:
    """`do` runs something in the share's loop."""

    pair: Pair
    folder: Path
    loop: asyncio.AbstractEventLoop = field(repr=False)

    @property
    def line(self) -> str:
        return f"{NAME}@127.0.0.1:{self.pair.port}"

    def lose(self, guest: Guest) -> None:
        """Cut all connections of a guest, who may come back."""

        def work() -> None:
            for connection, owner in list(self.pair.server._connections.items()):
                if owner is guest:
                    connection.abort("lost")

        self.do(work)

    @contextlib.contextmanager
    def away(self) -> Iterator[None]:
        """Nobody gets in."""

        def close(*, is_closed: bool) -> None:
            self.pair.server._closing = is_closed

        self.do(lambda: close(is_closed=True))
        try:
            yield
        finally:
            self.do(lambda: close(is_closed=False))

    @property
    def command(self) -> str:
        """What a guest types."""
        code = self.folder / "code"
        code.write_text(CODE)
        return f"vconnect terminal {self.line} --code-file {code} --relay-only"

    def do(self, work: Callable[[], None]) -> None:
        do_in(self.loop, work, COMMAND_WITHIN)

    def open(self, command: list[str], name: str = "main", **terms: bool) -> SharedTerminal:
        """A terminal in which `command` runs."""
        made: list[SharedTerminal] = []

        def work() -> None:
            made.append(self.pair.streams.terminals.open(name, Terms(**terms)))
            LocalProgram(made[0], command)

        self.do(work)
        return made[0]


@contextlib.contextmanager
def terminal_share(folder: Path) -> Iterator[TerminalShare]:
    """Ends its terminals with the block."""
    started: list[TerminalShare] = []
    ready, end = threading.Event(), asyncio.Event()

    async def main() -> None:
        async with share_pair() as pair:
            calls = cast(dict[str, object], pair.streams._calls)
            calls["share-info"] = calls["shared-ports"] = lambda guest, policy: {}
            started.append(TerminalShare(pair, folder, asyncio.get_running_loop()))
            ready.set()
            await end.wait()
            pair.streams.end_all()
            await asyncio.sleep(0.05)  # for last words

    def serve() -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            try:
                runner.run(main())
            finally:
                ready.set()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        assert ready.wait(COMMAND_WITHIN)
        yield started[0]
    finally:
        if started:
            started[0].loop.call_soon_threadsafe(end.set)
        thread.join()
