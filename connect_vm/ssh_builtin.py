"""SSH without the system's `ssh`: an interactive shell, or one command, by asyncssh.

The counterpart is the shared machine's SSH server, over a stream of the tunnel. The terminal is
raw while it lasts and follows its window's size.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import stat
import sys
import termios
import tty
from collections.abc import Iterator, Sequence

import asyncssh

from connect_vm.opener import Opener
from connect_vm.ssh_key import Login
from tunnel.ends import End, bridge
from tunnel.errors import UsageError, VshareError
from tunnel.names import ShareName
from tunnel.socket_end import SocketEnd

LOGIN_TIMEOUT = 30.0  # seconds
CHUNK = 32 * 1024  # bytes per read
NO_STATUS = 255  # as OpenSSH's client says it when the connection ended without a status
_SIGNALLED = 128


def check_arguments(arguments: Sequence[str]) -> None:
    """Raises UsageError for options, which only the system's `ssh` knows."""
    if arguments and arguments[0].startswith("-"):
        raise UsageError(
            f"without the program ssh there are no options for it: {arguments[0]!r}",
            "install OpenSSH's client, or give a command alone",
        )


async def run(
    opener: Opener,
    name: ShareName,
    login: Login,
    arguments: Sequence[str],
    *stops: asyncio.Event,
) -> int:
    """Run a command, or a shell, until it ends or until one of `stops`; its exit code."""
    check_arguments(arguments)
    ours, theirs = socket.socketpair()
    for sock in (ours, theirs):
        sock.setblocking(False)
    try:
        stream = await opener.open("", login.port)
        async with asyncio.TaskGroup() as group:
            carrier = group.create_task(_carry(SocketEnd(theirs), stream), name="ssh stream")
            work = group.create_task(_session(ours, name, login, arguments), name="ssh")
            ends = [group.create_task(_end_on(event, work), name="end ssh") for event in stops]
            await asyncio.wait([work])
            for task in (*ends, carrier):
                task.cancel()
        return NO_STATUS if work.cancelled() else work.result()
    finally:
        ours.close()
        theirs.close()


async def _carry(sock: SocketEnd, stream: End) -> None:
    await bridge(sock, stream)


async def _end_on(event: asyncio.Event, work: asyncio.Task[int]) -> None:
    await event.wait()
    work.cancel()


async def _session(
    sock: socket.socket, name: ShareName, login: Login, arguments: Sequence[str]
) -> int:
    trusted = [asyncssh.import_public_key(line) for line in login.host_keys]
    try:
        async with asyncio.timeout(LOGIN_TIMEOUT):
            connection = await asyncssh.connect(
                name,
                sock=sock,
                username=login.user,
                client_keys=[login.key],
                agent_path=None,
                known_hosts=(trusted, [], []),
                preferred_auth="publickey",
                config=None,
            )
    except TimeoutError:
        raise VshareError(f"no SSH login in {LOGIN_TIMEOUT:g} s", "try again") from None
    except (asyncssh.Error, OSError) as error:
        raise VshareError(f"no SSH login as {login.user!r}: {error}", "ask the sharer") from error
    async with connection:
        interactive = not arguments and sys.stdin.isatty()
        process = await connection.create_process(
            " ".join(arguments) or None,
            term_type=os.environ.get("TERM", "xterm") if interactive else None,
            term_size=shutil.get_terminal_size() if interactive else (80, 24),
            encoding=None,
        )
        with _raw_terminal(process) if interactive else contextlib.nullcontext():
            await _exchange(process)
        code = process.returncode
    if code is None:
        return NO_STATUS
    return code if code >= 0 else _SIGNALLED - code


async def _exchange(process: asyncssh.SSHClientProcess[bytes]) -> None:
    """Carry what is typed and what comes, until the process has ended."""
    async with asyncio.TaskGroup() as group:
        feeding = group.create_task(_feed(process.stdin), name="ssh stdin")
        shown = [
            group.create_task(_show(process.stdout, sys.stdout.fileno()), name="ssh stdout"),
            group.create_task(_show(process.stderr, sys.stderr.fileno()), name="ssh stderr"),
        ]
        await asyncio.wait(shown)
        await process.wait_closed()
        feeding.cancel()


async def _feed(writer: asyncssh.SSHWriter[bytes]) -> None:
    fd = sys.stdin.fileno()
    mode = os.fstat(fd).st_mode
    waits = stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or os.isatty(fd)  # a file never blocks
    with contextlib.suppress(OSError):  # the process has ended
        while True:
            if waits:
                await _readable(fd)
            data = os.read(fd, CHUNK)
            if not data:
                writer.write_eof()
                return
            writer.write(data)
            await writer.drain()


async def _readable(fd: int) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(fd, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(fd)


async def _show(reader: asyncssh.SSHReader[bytes], fd: int) -> None:
    while data := await reader.read(CHUNK):
        while data:
            data = data[os.write(fd, data) :]


@contextlib.contextmanager
def _raw_terminal(process: asyncssh.SSHClientProcess[bytes]) -> Iterator[None]:
    """Keys go to the machine as they are typed; the window's size goes with them."""
    loop, fd = asyncio.get_running_loop(), sys.stdin.fileno()

    def resized() -> None:
        process.change_terminal_size(*shutil.get_terminal_size())

    before = termios.tcgetattr(fd)
    loop.add_signal_handler(signal.SIGWINCH, resized)
    tty.setraw(fd, termios.TCSADRAIN)  # what was typed ahead is for the machine
    try:
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)
        loop.remove_signal_handler(signal.SIGWINCH)
