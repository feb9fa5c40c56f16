"""A key in a libvirt domain, put there and taken out by the QEMU guest agent inside it.

For machines that we cannot log in to (`--domain`). libvirt 6.10 and qemu-guest-agent 5.2 brought
it; the agent writes ~/.ssh/authorized_keys of the user.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from types import ModuleType
from typing import Protocol, cast

from tunnel.errors import UsageError, VshareError
from vshare import find_libvirt
from vshare.authorized_keys import public_line
from vshare.key_place import Expiry, LoggedIn, OverAgent, Where, log_in
from vshare.machine import SshAccess
from vshare.ssh_key import SshKey

GREETING_TIMEOUT_SECONDS = 5.0  # an SSH server speaks first
MAX_GREETING = 255  # bytes (RFC 4253 4.2)


class _Domain(find_libvirt.Domain, Protocol):
    """What is used of libvirt's virDomain."""

    def authorizedSSHKeysGet(self, user: str, flags: int = 0) -> list[str] | None:  # noqa: N802
        """The lines of the user's file. Raises libvirtError."""

    def authorizedSSHKeysSet(  # noqa: N802 - libvirt's spelling
        self, user: str, keys: list[str], flags: int = 0
    ) -> int:
        """Change them. Raises libvirtError."""


class QemuAgentKeys:
    """The KeyPlace of `user` in `domain`; `access` is where its SSH server is, if that is known."""

    def __init__(self, domain: str, user: str | None, access: SshAccess | None = None) -> None:
        if not user:
            raise UsageError(
                "libvirt does not know who may log in to the domain",
                "name the user with --ssh-user",
            )
        self._domain = domain
        self._user = user
        self._access = access

    def where(self) -> Where | None:
        """See KeyPlace."""
        return OverAgent(self._domain, self._user)

    async def insert(self, line: str, expires_at: float) -> bool:
        """See KeyPlace. The time is given where the server understands it in UTC."""
        expiry = Expiry(await self._greeting())
        option = ""
        if expiry.in_utc:
            at = datetime.fromtimestamp(max(expires_at, 0), UTC)
            option = f'expiry-time="{at:%Y%m%d%H%M%SZ}" '

        def change(libvirt: ModuleType, domain: find_libvirt.Domain) -> None:
            keys = cast(_Domain, domain)
            earlier = _ours(libvirt, keys, self._user, line)
            new = option + line
            append = libvirt.VIR_DOMAIN_AUTHORIZED_SSH_KEYS_SET_APPEND
            keys.authorizedSSHKeysSet(self._user, [new], append)
            _remove(libvirt, keys, self._user, [each for each in earlier if each != new])

        await self._call(change)
        return bool(option)

    async def remove(self, line: str) -> None:
        """See KeyPlace."""

        def change(libvirt: ModuleType, domain: find_libvirt.Domain) -> None:
            keys = cast(_Domain, domain)
            _remove(libvirt, keys, self._user, _ours(libvirt, keys, self._user, line))

        await self._call(change)

    async def try_key(self, key: SshKey, password: str | None) -> LoggedIn:
        """See KeyPlace."""
        if self._access is None:
            raise VshareError("where the domain's SSH server is, is not known")
        access = SshAccess(self._access.host, self._access.port, self._user)
        return await log_in(access, key, password, None)

    async def _greeting(self) -> str:
        """What the domain's SSH server says of itself; "" where it does not answer."""
        if self._access is None:
            return ""
        with suppress(OSError, TimeoutError, ValueError):
            async with asyncio.timeout(GREETING_TIMEOUT_SECONDS):
                reader, writer = await asyncio.open_connection(
                    self._access.host, self._access.port, limit=MAX_GREETING
                )
                try:
                    return (await reader.readline()).decode("ascii", "replace")
                finally:
                    writer.transport.abort()
        return ""

    async def _call(self, change: Callable[[ModuleType, find_libvirt.Domain], None]) -> None:
        """Call libvirt in a thread. Raises VshareError."""
        try:
            await find_libvirt.with_domain(self._domain, change)
        except VshareError as error:
            raise VshareError(
                f"the keys of {self._user!r} in the domain {self._domain!r} could not be changed:"
                f" {error.text}",
                "the domain needs qemu-guest-agent, 5.2 or later, running in it, and a channel"
                " org.qemu.guest_agent.0; `virsh get-user-sshkeys DOMAIN USER` shows whether it"
                " works",
            ) from error


def _ours(libvirt: ModuleType, domain: _Domain, user: str, line: str) -> list[str]:
    """The user's lines that have our key. The agent fails where there is no file yet: then what
    was inserted is asked for, and the next call fails as well if that was not the reason."""
    blob = public_line(line)
    try:
        lines = domain.authorizedSSHKeysGet(user) or []
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_AGENT_UNRESPONSIVE:
            raise  # the next call would wait for it as long as this one did
        return [line]
    return [each for each in lines if blob in each.split()]


def _remove(libvirt: ModuleType, domain: _Domain, user: str, lines: list[str]) -> None:
    if lines:
        flag = libvirt.VIR_DOMAIN_AUTHORIZED_SSH_KEYS_SET_REMOVE
        domain.authorizedSSHKeysSet(user, lines, flag)
