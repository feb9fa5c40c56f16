"""One SSH connection to the machine, shared by all that need it, made again when it dies.

Host keys: a Vagrant machine's is not checked, as `vagrant ssh` does not check it (its
ssh-config says StrictHostKeyChecking no), because the machine is this host's own and gets a
new key with every `vagrant up`. An `ssh://` target's must be in the user's known_hosts.
Keys come from the key files; where none of them can be used (or none is named), from the user's
SSH agent and ~/.ssh. A password, where there is one, goes through the SSH protocol; nothing secret
is put on a command line. ~/.ssh/config counts for `ssh://` targets only.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from types import TracebackType
from typing import Self

import asyncssh

from tunnel.errors import VshareError
from vshare.machine import SSH_PORT, SshAccess

# TCP, key exchange and log-in, on a machine that is slow because it is emulated.
LOGIN_TIMEOUT_SECONDS = 30.0
# A dead connection is noticed after (COUNT + 1) * INTERVAL seconds of silence.
KEEPALIVE_SECONDS = 10
KEEPALIVE_COUNT = 2
CLOSE_TIMEOUT_SECONDS = 2.0  # for a goodbye that the machine may never answer
RUN_TIMEOUT_SECONDS = 15.0  # the scripts that are run take milliseconds
MAX_OUTPUT = 1024 * 1024  # of one command; some thousand listeners


class SshLink:
    """An async context manager; the connection itself is made when it is first needed."""

    def __init__(self, access: SshAccess) -> None:
        self.access = access
        self._connection: asyncssh.SSHClientConnection | None = None
        self._lock = asyncio.Lock()
        self._closed = False

    async def __aenter__(self) -> Self:
        """Does not connect yet; `connection()` does."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the connection and everything in it."""
        self._closed = True
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
            try:
                async with asyncio.timeout(CLOSE_TIMEOUT_SECONDS):
                    await connection.wait_closed()
            except TimeoutError:
                connection.abort()

    async def connection(self) -> asyncssh.SSHClientConnection:
        """The live connection, made if there is none. Raises VshareError."""
        async with self._lock:
            if self._closed:
                raise VshareError(f"the SSH connection to {self.access} has been closed")
            if self._connection is None or self._connection.is_closed():
                self._connection = await connect(self.access)
            return self._connection

    async def run(self, command: str, *, stdin: bytes = b"") -> bytes:
        """What `command` prints, at most MAX_OUTPUT; its exit status is not looked at.

        Raises VshareError when it cannot be run or takes longer than RUN_TIMEOUT_SECONDS.
        """
        connection = await self.connection()
        try:
            async with asyncio.timeout(RUN_TIMEOUT_SECONDS):
                async with connection.create_process(
                    command, encoding=None, stderr=asyncssh.DEVNULL
                ) as process:
                    with suppress(BrokenPipeError):  # it may have ended before it is given input
                        process.stdin.write(stdin)
                        process.stdin.write_eof()
                    return await _read_bounded(process.stdout)
        except TimeoutError:
            raise VshareError(
                f"no answer over SSH from {self.access} in {RUN_TIMEOUT_SECONDS:.0f} s"
            ) from None
        except (asyncssh.Error, OSError) as error:
            raise VshareError(f"a command could not be run on {self.access}: {error}") from error


async def _read_bounded(stream: asyncssh.SSHReader[bytes]) -> bytes:
    output = b""
    while len(output) < MAX_OUTPUT:
        part = await stream.read(MAX_OUTPUT - len(output))
        if not part:
            break
        output += part
    return output


async def connect(access: SshAccess) -> asyncssh.SSHClientConnection:
    """Log in. Raises VshareError that says why not and what to try."""
    keys = usable_keys(access)
    try:
        async with asyncio.timeout(LOGIN_TIMEOUT_SECONDS):
            return await asyncssh.connect(
                access.host,
                () if access.port == SSH_PORT else access.port,
                username=access.user or (),
                client_keys=keys or (),
                password=access.password,
                # An agent's keys would be tried first, and a server allows six tries.
                agent_path=None if keys else (),
                known_hosts=str(access.known_hosts) if access.known_hosts else None,
                proxy_command=access.proxy_command or (),
                keepalive_interval=KEEPALIVE_SECONDS,
                keepalive_count_max=KEEPALIVE_COUNT,
                compression_algs=None,
                config=() if access.known_hosts else None,
            )
    except TimeoutError:
        raise VshareError(
            f"the SSH server of {access} did not let us in within {LOGIN_TIMEOUT_SECONDS:.0f} s",
            "is the machine up? `vagrant ssh` or `ssh` shows what it waits for",
        ) from None
    except asyncssh.HostKeyNotVerifiable as error:
        raise VshareError(
            f"the host key of {access} is not known: {error.reason}",
            f"log in once with `ssh`, and compare its fingerprint, so that {access.known_hosts}"
            " knows it",
        ) from error
    except asyncssh.PermissionDenied as error:
        raise VshareError(
            f"{access} accepts none of our keys",
            "add the key to your SSH agent (`ssh-add`), or put it into the machine's"
            " authorized_keys; `ssh` shows whether it works",
        ) from error
    except (asyncssh.Error, OSError, ValueError) as error:
        raise VshareError(
            f"no SSH connection to {access}: {error}",
            "is its SSH server running, and is this its address?",
        ) from error


def usable_keys(access: SshAccess) -> list[asyncssh.SSHKey]:
    """The key files that exist and need no passphrase."""
    keys = []
    for path in access.key_files:
        try:
            keys.append(asyncssh.read_private_key(path))
        except (OSError, asyncssh.KeyImportError):
            continue  # missing or encrypted: the agent may hold it
    return keys
