"""A login shell in the machine, over the SSH connection that the share has anyway (ssh_link.py)."""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING, cast

import asyncssh

from tunnel.codes import Code
from tunnel.errors import VshareError
from tunnel.vt.slices import LARGEST, LONG, first_slice
from vshare.ssh_link import SshLink
from vshare.terminals.terminal import SharedTerminal

TERM = "xterm-256color"  # what tunnel/vt knows, and every terminal that shows it
OPEN_TIMEOUT = 15.0  # seconds; on a machine that is emulated a log-in shell takes some
# The echo of a key, which need not wait for the loop's next turn.
AT_ONCE = 1_024  # bytes
MAX_PENDING = 64 * 1024  # bytes that were read and not shown; then nothing more is read
SSH_WINDOW = 64 * 1024  # bytes; more would be old before it is shown
# What was typed and the machine does not take; then it is thrown away.
MAX_UNTAKEN = 64 * 1024  # bytes

if TYPE_CHECKING:
    _Session = asyncssh.SSHClientSession[bytes]
else:
    _Session = asyncssh.SSHClientSession


class Shell(_Session):
    """A Program. `open` makes it; it shows nothing before `run_in`."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._terminal: SharedTerminal | None = None
        self._pending = bytearray()
        self._pump: asyncio.Handle | None = None
        self._is_paused = False
        self._ended = ""  # why, in words
        self._code = Code.CLOSED

    def run_in(self, terminal: SharedTerminal) -> None:
        """Show what it writes there from now on."""
        self._terminal = terminal
        terminal.run(self)
        self._pump_soon()

    # -- see Program

    def write(self, data: bytes) -> None:
        """See Program.write."""
        if not self._ended and self._channel.get_write_buffer_size() < MAX_UNTAKEN:
            self._channel.write(data)

    def resize(self, columns: int, rows: int) -> None:
        """See Program.resize."""
        if not self._ended:
            self._channel.change_terminal_size(columns, rows)

    def pause(self) -> None:
        """See Program.pause."""
        self._is_paused = True

    def resume(self) -> None:
        """See Program.resume."""
        self._is_paused = False
        self._pump_soon()

    def close(self) -> None:
        """See Program.close: its terminal is gone, so the shell gets SIGHUP."""
        self._terminal = None
        self._pending.clear()
        self._channel.close()

    # -- see asyncssh.SSHClientSession

    def connection_made(self, chan: asyncssh.SSHClientChannel[bytes]) -> None:
        """The channel is open."""
        self._channel = chan

    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        """The program wrote."""
        self._pending += data
        if len(self._pending) >= MAX_PENDING:
            self._channel.pause_reading()
        if self._pump is None and len(self._pending) <= AT_ONCE:
            self._show()  # what comes in the same turn waits for the next one
        else:
            self._pump_soon()

    def exit_status_received(self, status: int) -> None:
        """The shell has ended by itself."""
        self._ended = "the shell has ended"
        if status:
            self._ended += f" (exit status {status})"

    def connection_lost(self, exc: Exception | None) -> None:
        """The channel is closed, or the connection lost."""
        if not self._ended:
            lost = exc is not None
            self._ended = "the connection to the machine is lost" if lost else "the shell has ended"
            self._code = Code.LOST if lost else Code.CLOSED
        self._is_paused = False
        self._is_over = True
        self._pump_soon()

    _is_over = False

    def _pump_soon(self) -> None:
        if self._pump is None and self._terminal is not None and not self._is_paused:
            self._pump = self._loop.call_soon(self._show)

    def _show(self) -> None:
        """A slice, and more in the loop's next turn."""
        self._pump = None
        if self._terminal is None or self._is_paused:
            return
        if self._pending:
            was_full = len(self._pending) >= MAX_PENDING
            self._show_some(self._terminal)
            if was_full and len(self._pending) < MAX_PENDING and not self._is_over:
                self._channel.resume_reading()
            self._pump_soon()
        elif self._is_over:
            self._terminal.ended(self._ended, self._code)

    def _show_some(self, terminal: SharedTerminal) -> None:
        """LARGEST bytes, or as many as take no long time."""
        least, until = len(self._pending) - LARGEST, time.thread_time() + LONG
        while len(self._pending) > max(least, 0) and not self._is_paused:
            data = bytes(self._pending[: first_slice(self._pending)])
            del self._pending[: len(data)]
            terminal.output(data)
            if time.thread_time() > until:
                return


async def open_shell(link: SshLink | None, columns: int, rows: int) -> Shell:
    """A shell in a terminal of that size. Raises VshareError."""
    if link is None:
        raise VshareError(
            "there is no SSH way into the machine, so no terminal of it can be shared",
            "share it as a Vagrant machine, or with --target ssh://USER@HOST",
        )
    connection = await link.connection()
    try:
        async with asyncio.timeout(OPEN_TIMEOUT):
            _, shell = await connection.create_session(
                Shell,
                request_pty="force",
                term_type=TERM,
                term_size=(columns, rows),
                term_modes={asyncssh.PTY_IUTF8: 1},
                env={"LANG": _language()},
                encoding=None,
                window=SSH_WINDOW,
            )
    except TimeoutError:
        raise VshareError(
            f"no shell on {link.access} within {OPEN_TIMEOUT:.0f} s", "does `vagrant ssh` give one?"
        ) from None
    except (asyncssh.Error, OSError) as error:
        raise VshareError(
            f"{link.access} gives no terminal: {error}", "its sshd has to permit one (PermitTTY)"
        ) from error
    return cast(Shell, shell)


def _language() -> str:
    """The sharer's, if it is written in UTF-8; sshd passes it on if it is set up so."""
    wanted = os.environ.get("LC_ALL") or os.environ.get("LANG") or ""
    return wanted if wanted.lower().replace("-", "").endswith("utf8") else "C.UTF-8"
