"""Whether Vagrant's publicly known key opens the machine.

Vagrant boxes come with it in authorized_keys, and where Vagrant does not replace it (it is
told not to, or the box was started by other means) everybody has the key: it is published
with Vagrant, for new machines to be logged in to once, and worth nothing as a secret. To learn
whether a server takes it its public half is enough (RFC 4252 7: the server is asked before
anything is signed), so the private one is not here, and nobody logs in.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass

import asyncssh

from vshare.machine import SSH_PORT, Machine, SshAccess

# One exchange of keys and some questions, on a machine that may be emulated.
TRY_TIMEOUT_SECONDS = 8.0
USER = "vagrant"  # of Vagrant's boxes, where no other is known
# The one that all boxes had, and the one that joined it with Vagrant 2.4.
PUBLIC_KEYS = (
    "ssh-rsa AAAAB3NzaC1yc2EAAAABIwAAAQEA6NF8iallvQVp22WDkTkyrtvp9eWW6A8YVr+kz4TjGYe7gHzIw+niNltGE"
    "FHzD8+v1I2YJ6oXevct1YeS0o9HZyN1Q9qgCgzUFtdOKLv6IedplqoPkcmF0aYet2PkEDo3MlTBckFXPITAMzF8dJSIFo"
    "9D8HfdOV0IAdx4O7PtixWKn5y2hMNG0zQPyUecp4pzC6kivAIhyfHilFR61RGL+GPXQ2MWZWFYbAGjyiYJnAmCP3NOTd0"
    "jMZEnDkbUvxhMmBYSdETk1rRgm+R4LOzFUGaHqHDLKLX+FIPKcF96hrucXzcWyLbIbEgE98OHlnVYCzRdK8jlqm8tehUc"
    "9c9WhQ==",
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIN1YdxBpNlzxDqfJyw/QKow1F+wvG9hXGoqiysfJOn5Y",
)


@dataclass(frozen=True, slots=True)
class KeyTrial:
    """`opens`: whether the key is accepted; None: could not be tried, and `why` says so."""

    opens: bool | None
    why: str = ""


async def try_vagrant_key(machine: Machine) -> KeyTrial:
    """Ask the machine's SSH server. Does not raise for what it does."""
    access = machine.ssh
    if access is None:
        if machine.address is None:
            return KeyTrial(None, "no SSH server is known")
        access = SshAccess(machine.address, SSH_PORT)
    keys = [_PublicHalf(asyncssh.import_public_key(each)) for each in PUBLIC_KEYS]
    try:
        async with asyncio.timeout(TRY_TIMEOUT_SECONDS):
            connection = await _connect(access, keys)
    except asyncssh.PermissionDenied:
        return KeyTrial(any(key.accepted for key in keys))
    except TimeoutError:
        why = f"no answer in {TRY_TIMEOUT_SECONDS:.0f} s"
    except OSError as error:
        why = os.strerror(error.errno).lower() if error.errno else str(error)
    except (asyncssh.Error, ValueError) as error:
        why = str(error)
    else:
        connection.abort()  # let in without any key: the public one would do as well
        return KeyTrial(True)
    return KeyTrial(True) if any(key.accepted for key in keys) else KeyTrial(None, why)


async def _connect(access: SshAccess, keys: list[_PublicHalf]) -> asyncssh.SSHClientConnection:
    """As ssh_link.connect() does, but with nothing of the user's own that could be let in."""
    return await asyncssh.connect(
        access.host,
        () if access.port == SSH_PORT else access.port,
        username=access.user or USER,
        client_keys=keys,
        password=None,
        agent_path=None,
        preferred_auth="publickey",
        known_hosts=str(access.known_hosts) if access.known_hosts else None,
        proxy_command=access.proxy_command or (),
        compression_algs=None,
        config=() if access.known_hosts else None,
    )


class _PublicHalf(asyncssh.SSHKeyPair):
    """A key that is offered and cannot sign: being asked to is the answer."""

    def __init__(self, key: asyncssh.SSHKey) -> None:
        algorithms = key.sig_algorithms
        super().__init__(
            key.algorithm, key.algorithm, algorithms, algorithms, key.public_data, None
        )
        self.accepted = False

    def sign(self, data: bytes) -> bytes:
        """Remember that the server accepts the key; asyncssh goes on with the next."""
        self.accepted = True
        raise ValueError("only the public half is here")
