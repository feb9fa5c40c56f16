"""Where a public key can be put so that its owner may log in to the machine, and taken away again.

Two do it: authorized_keys.py over SSH, qemu_agent.py through libvirt.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import asyncssh
import msgspec

from tunnel.errors import VshareError
from vshare.machine import SSH_PORT, SshAccess
from vshare.ssh_key import SshKey

LOGIN_TIMEOUT_SECONDS = 20.0  # on a machine that is slow because it is emulated
HOST_KEY_TIMEOUT_SECONDS = 5.0  # for those that are nice to have
CLOSE_TIMEOUT_SECONDS = 2.0  # for a goodbye that the machine may never answer
# The types that clients check today, and how each is asked for (RFC 8709, 5656, 8332).
_HOST_KEY_ALGORITHMS = {
    "ssh-ed25519": "ssh-ed25519",
    "ecdsa-sha2-nistp256": "ecdsa-sha2-nistp256",
    "ssh-rsa": "rsa-sha2-512",
}
_OPENSSH = re.compile(r"SSH-2\.0-OpenSSH_(\d{1,3})\.(\d{1,3})")
_EXPIRY_SINCE = (7, 7)  # `expiry-time` in authorized_keys (OpenSSH's release notes)
_UTC_SINCE = (9, 1)  # a Z at its end; before, the time is in the machine's own time zone


class OverSsh(msgspec.Struct, frozen=True, tag="ssh"):
    """How to reach a machine over SSH, without what is secret of it."""

    host: str
    port: int
    user: str | None
    key_files: list[str]
    known_hosts: str | None


class OverAgent(msgspec.Struct, frozen=True, tag="agent"):
    """A libvirt domain with a guest agent, and who the key lets in."""

    domain: str
    user: str


Where: TypeAlias = OverSsh | OverAgent
_KnownHosts: TypeAlias = str | tuple[list[asyncssh.SSHKey], list[str], list[str]] | None


@dataclass(frozen=True, slots=True)
class LoggedIn:
    """What a log-in with the key has shown."""

    user: str
    host_keys: tuple[str, ...]  # lines as in known_hosts, without the host


class KeyPlace(Protocol):
    """One user's list of keys in one machine."""

    def where(self) -> Where | None:
        """How a later run finds this place again; None: it could not."""

    async def insert(self, line: str, expires_at: float) -> bool:
        """Let the key of `line` in until `expires_at` (seconds since the epoch); replaces an
        earlier time. True if the machine itself sees to the end. Raises VshareError."""

    async def remove(self, line: str) -> None:
        """Let the key in no more; nothing happens if it is not there. Raises VshareError."""

    async def try_key(self, key: SshKey, password: str | None) -> LoggedIn:
        """Log in with the key, to see that it is accepted. Raises VshareError."""


class Expiry:
    """What a machine's SSH server understands of expiry times, by its greeting."""

    def __init__(self, greeting: str) -> None:
        match = _OPENSSH.match(greeting)
        version = (int(match[1]), int(match[2])) if match else (0, 0)
        self.understood = version >= _EXPIRY_SINCE
        self.in_utc = version >= _UTC_SINCE


async def log_in(
    access: SshAccess, key: SshKey, password: str | None, trusted: asyncssh.SSHKey | None
) -> LoggedIn:
    """Log in with `key` and nothing else; the server must have the host key `trusted`, where it
    is known. Raises VshareError."""
    private = await asyncio.to_thread(asyncssh.import_private_key, key.private, password)
    known: _KnownHosts = str(access.known_hosts) if access.known_hosts else None
    if trusted is not None:
        known = ([trusted], [], [])
    try:
        async with asyncio.timeout(LOGIN_TIMEOUT_SECONDS):
            connection = await asyncssh.connect(
                access.host,
                access.port or SSH_PORT,
                username=access.user or (),
                client_keys=[private],
                agent_path=None,
                known_hosts=known,
                preferred_auth="publickey",
                proxy_command=access.proxy_command or (),
                config=None,
            )
    except TimeoutError:
        raise _not_accepted(access, f"no answer in {LOGIN_TIMEOUT_SECONDS:.0f} s") from None
    except (asyncssh.Error, OSError) as error:
        raise _not_accepted(access, str(error)) from error
    try:
        user = str(connection.get_extra_info("username"))
        own = connection.get_server_host_key()
    finally:
        await _close(connection)
    # Where host keys are checked, those that nobody has vouched for are not handed on.
    host_keys = list(_lines(own))
    if access.known_hosts is None:
        known_types = {line.split(" ")[0] for line in host_keys}
        host_keys += await _other_host_keys(access, known_types)
    return LoggedIn(user, tuple(sorted(host_keys)))


def _not_accepted(access: SshAccess, reason: str) -> VshareError:
    return VshareError(
        f"{access} does not accept the key that was inserted: {reason}",
        "its SSH server may read another file than ~/.ssh/authorized_keys, or allow no keys: see"
        " AuthorizedKeysFile and PubkeyAuthentication in its sshd_config; or share without --ssh",
    )


async def _other_host_keys(access: SshAccess, known_types: set[str]) -> list[str]:
    """The server's host keys of other types: a guest's client may not take the one we know.

    A type that the server has not costs no key exchange.
    """
    found: list[str] = []

    async def ask(algorithm: str) -> None:
        with suppress(asyncssh.Error, OSError, TimeoutError):  # it need not have every type
            async with asyncio.timeout(HOST_KEY_TIMEOUT_SECONDS):
                key = await asyncssh.get_server_host_key(
                    access.host,
                    access.port or SSH_PORT,
                    proxy_command=access.proxy_command or (),
                    server_host_key_algs=[algorithm],
                    config=None,
                )
            found.extend(_lines(key))

    async with asyncio.TaskGroup() as group:
        for kind, algorithm in _HOST_KEY_ALGORITHMS.items():
            if kind not in known_types:
                group.create_task(ask(algorithm), name=f"host key {algorithm}")
    return found


def _lines(key: asyncssh.SSHKey | None) -> Iterator[str]:
    if key is not None:
        yield " ".join(key.export_public_key().decode("ascii").split()[:2])


async def _close(connection: asyncssh.SSHClientConnection) -> None:
    connection.close()
    try:
        async with asyncio.timeout(CLOSE_TIMEOUT_SECONDS):
            await connection.wait_closed()
    except TimeoutError:
        connection.abort()
