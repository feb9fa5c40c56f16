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
import socket
from collections.abc import Awaitable, Callable
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
# A server that is being restarted is asked again and again, for as long as one log-in may take.
ASK_AGAIN_SECONDS = 0.3
ASK_WITHIN_SECONDS = 1.0  # for TCP alone; the kernel itself would ask again after 1, 3 and 7 s
# A connection that does not answer is replaced this often at most.
RENEW_EVERY_SECONDS = 5.0
ANSWER_WITHIN_SECONDS = 2.0  # for a program that does nothing, on an emulated machine
# In front of what asyncssh would offer. Its ChaCha20 costs six times as much for a packet that
# carries a key, and takes a third of all that the share does for one.
CIPHERS = "^aes256-gcm@openssh.com,aes128-gcm@openssh.com"
CLOSE_TIMEOUT_SECONDS = 2.0  # for a goodbye that the machine may never answer
RUN_TIMEOUT_SECONDS = 15.0  # the scripts that are run take milliseconds
MAX_OUTPUT = 1024 * 1024  # of one command; some thousand listeners


async def _nowhere() -> list[SshAccess]:
    return []


class SshLink:
    """An async context manager; the connection itself is made when it is first needed.

    Where the server does not let us in at `access`, and did before, `elsewhere()` says where else
    to try; `access` then changes.
    """

    def __init__(
        self,
        access: SshAccess,
        elsewhere: Callable[[], Awaitable[list[SshAccess]]] = _nowhere,
    ) -> None:
        self.access = access
        self._elsewhere = elsewhere
        self._replaced: list[asyncssh.SSHClientConnection] = []  # streams may be left in them
        self._renewed_at = 0.0
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
        for replaced in self._replaced:
            replaced.abort()
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
            if self._connection is None:
                self._connection = await connect(self.access)
            elif self._connection.is_closed():
                self._connection = await self._connect_again()
            return self._connection

    async def checked(self, doubtful: asyncssh.SSHClientConnection) -> asyncssh.SSHClientConnection:
        """`doubtful` if it answers; else a new one, in which `doubtful` has no part: it keeps its
        streams until it is known to be dead. Raises VshareError."""
        if doubtful is not self._connection or await _answers(doubtful):
            return await self.connection()
        async with self._lock:
            now = asyncio.get_running_loop().time()
            due = now - self._renewed_at >= RENEW_EVERY_SECONDS
            if doubtful is self._connection and (due or doubtful.is_closed()):
                fresh = await self._connect_again()
                self._replaced = [each for each in self._replaced if not each.is_closed()]
                self._replaced.append(doubtful)
                self._connection, self._renewed_at = fresh, now
        return await self.connection()

    async def _connect_again(self) -> asyncssh.SSHClientConnection:
        """As soon as the server is there again, here or elsewhere. Raises VshareError."""
        until = asyncio.get_running_loop().time() + LOGIN_TIMEOUT_SECONDS
        while True:
            for access in (self.access, *await self._elsewhere()):
                if await _is_there(access):
                    connection = await connect(access)
                    self.access = access
                    return connection
            if asyncio.get_running_loop().time() > until:
                return await connect(self.access)  # whose error says what is wrong
            await asyncio.sleep(ASK_AGAIN_SECONDS)

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


async def _answers(connection: asyncssh.SSHClientConnection) -> bool:
    """Whether the server still does what it is asked for."""
    try:
        async with asyncio.timeout(ANSWER_WITHIN_SECONDS):
            await connection.run("true")
    except (TimeoutError, asyncssh.Error, OSError):
        return False
    return True


async def _is_there(access: SshAccess) -> bool:
    """Whether anything listens where the SSH server is; true where only log-in can tell."""
    if access.proxy_command is not None:
        return True
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(ASK_WITHIN_SECONDS):
            found = await loop.getaddrinfo(access.host, access.port, type=socket.SOCK_STREAM)
            with socket.socket(found[0][0], socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
                await loop.sock_connect(probe, found[0][4])
    except (socket.gaierror, UnicodeError):
        return True  # a name of the user's SSH configuration
    except (OSError, TimeoutError):
        return False
    return True


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
                # Those of ~/.ssh/config are the user's to choose.
                encryption_algs=() if access.known_hosts else CIPHERS,
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
