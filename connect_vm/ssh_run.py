"""The system's `ssh`, with the terminal, the share's host keys, and one key from our own agent.

It reads no configuration (`-F none`): what a user has set for his own hosts (agent forwarding,
jump hosts, shared connections, other keys) is not meant for somebody else's machine. Who wants
it says so after `--`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import sys
import tempfile
import termios
from collections.abc import Iterator, Sequence
from pathlib import Path

from connect_vm.opener import Opener
from connect_vm.ssh_agent import KeyAgent
from connect_vm.ssh_gate import SshGate
from connect_vm.ssh_key import Login
from tunnel.errors import VshareError
from tunnel.names import ShareName

END_WITHIN = 5.0  # seconds that `ssh` has to end before it is killed
CONNECT_TIMEOUT = 30  # seconds; the share itself gives up earlier
_PLAIN = re.compile(r"/[A-Za-z0-9/._-]*")  # a path that `ssh` takes for itself: no %, $, blanks
NO_CONNECTION = 255  # ssh's exit code for its own failures (ssh(1))
_SIGNALLED = 128  # a command ended by signal n counts as 128 + n, as in shells


def find_ssh() -> str | None:
    """The system's `ssh`."""
    return shutil.which("ssh")


def command(
    program: str, name: ShareName, user: str, port: int, folder: Path, arguments: Sequence[str]
) -> list[str]:
    """`ssh` to `port` of the loopback, as the host `name`.

    What stands first counts (ssh_config(5)): no option in `arguments` takes a precaution away by
    accident.
    """
    settings = {
        "HostName": "127.0.0.1",
        "Port": port,
        "User": user,
        "HostKeyAlias": name,
        "CheckHostIP": "no",
        "StrictHostKeyChecking": "yes",
        "UserKnownHostsFile": folder / "known_hosts",
        "GlobalKnownHostsFile": "none",
        "UpdateHostKeys": "no",
        "IdentityAgent": folder / "agent",
        "IdentityFile": folder / "key.pub",  # which key of the agent's
        "IdentitiesOnly": "yes",
        "PreferredAuthentications": "publickey",  # the machine is not to ask for passwords
        "ConnectTimeout": CONNECT_TIMEOUT,
    }
    options = [part for key, value in settings.items() for part in ("-o", f"{key}={value}")]
    return [program, "-F", "none", *options, name, *arguments]


@contextlib.contextmanager
def private_folder() -> Iterator[Path]:
    """A directory of this user's alone, removed at the end. No secret is ever put into it."""
    bases = (os.environ.get("XDG_RUNTIME_DIR", ""), tempfile.gettempdir(), "/tmp")
    base = next(each for each in bases if _PLAIN.fullmatch(each) and os.access(each, os.W_OK))
    folder = Path(tempfile.mkdtemp(prefix="vconnect-", dir=base))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def run(
    program: str,
    opener: Opener,
    name: ShareName,
    login: Login,
    arguments: Sequence[str],
    *stops: asyncio.Event,
) -> int:
    """Run `program` with our terminal until it ends, or until one of `stops`; its exit code.

    Raises VshareError when it cannot be run, or failed because the share refused a connection.
    """
    with private_folder() as folder:
        public = login.key.export_public_key().decode("ascii")
        (folder / "key.pub").write_text(public, encoding="ascii")
        lines = "".join(f"{name} {key}\n" for key in login.host_keys)
        (folder / "known_hosts").write_text(lines, encoding="ascii")
        async with (
            KeyAgent(login.key, folder / "agent"),
            SshGate(opener, login.port) as gate,
        ):
            whole = command(program, name, login.user, gate.port, folder, arguments)
            with _terminal_restored():
                code = await _run(whole, *stops)
    if code == NO_CONNECTION and gate.error is not None:
        raise gate.error
    return code


async def _run(arguments: Sequence[str], *stops: asyncio.Event) -> int:
    try:
        process = await asyncio.create_subprocess_exec(*arguments)
    except OSError as error:
        raise VshareError(
            f"cannot run {arguments[0]}: {(error.strerror or '').lower()}", "install OpenSSH"
        ) from error

    async def end_on(event: asyncio.Event) -> None:
        await event.wait()
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
            await asyncio.sleep(END_WITHIN)
            process.kill()

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(end_on(event), name="end ssh") for event in stops]
            code = await process.wait()
            for task in tasks:
                task.cancel()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return code if code >= 0 else _SIGNALLED - code


@contextlib.contextmanager
def _terminal_restored() -> Iterator[None]:
    """An `ssh` that was killed leaves the terminal raw."""
    if not sys.stdin.isatty() or os.tcgetpgrp(sys.stdin.fileno()) != os.getpgrp():
        yield
        return
    before = termios.tcgetattr(sys.stdin)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
