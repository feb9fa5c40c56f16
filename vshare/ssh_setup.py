"""`--ssh`: a password, a new key, and the key in the machine."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator
from pathlib import Path

from tunnel.console import Console
from tunnel.errors import UsageError
from tunnel.prompt import ask_hidden
from vshare.authorized_keys import AuthorizedKeys
from vshare.key_place import KeyPlace
from vshare.look import Found
from vshare.machine import SSH_PORT, SshAccess
from vshare.news import Newsroom
from vshare.options import SshOptions
from vshare.qemu_agent import QemuAgentKeys
from vshare.reach_machine import MachineReach
from vshare.rules import SSH_PROGRAMS
from vshare.ssh_key import MAX_PASSWORD, MIN_PASSWORD, check_password, make_key
from vshare.ssh_sharing import SshSharing

COMMENT_SIZE = 4  # random bytes that tell keys of different shares apart, for people
WITHOUT_TERMINAL = "name a file with --ssh-password-file FILE, or share with --ssh-no-password"


def check(options: SshOptions) -> None:
    """Raise UsageError for a password file that cannot be used, before anything is begun."""
    if options.password_file is not None:
        check_password(_read(options.password_file))


@contextlib.asynccontextmanager
async def share_ssh(
    options: SshOptions,
    found: Found,
    reach: MachineReach,
    newsroom: Newsroom,
    console: Console,
    expires_at: float,
) -> AsyncIterator[SshSharing]:
    """The key is in the machine inside the block, and gone after it. Raises VshareError."""
    port = options.port or _port(found)
    place = _place(options, found, reach)
    console.step(f"SSH Port: {port}")
    console.step("Generating new SSH key...")
    password = await _password(options, console)
    comment = f"vshare-{secrets.token_hex(COMMENT_SIZE)}"
    key = await asyncio.to_thread(make_key, comment, password)
    console.detail("Inserting generated SSH key into machine...")
    console.step("Checking authentication and authorization...")
    sharing = SshSharing(
        key, password, place, newsroom, port=port, expires_at=expires_at, once=options.once
    )
    async with contextlib.AsyncExitStack() as stack:
        with console.busy("the machine takes the key"):
            await stack.enter_async_context(sharing)
        console.detail(f"Guests log in as {sharing.user}; the key is {sharing.fingerprint}")
        yield sharing


def _port(found: Found) -> int:
    """Where the machine's SSH server is for guests: 22, unless it is known to be elsewhere."""
    machine = found.machine
    if machine.ssh is not None and machine.ssh.host == machine.address:
        return machine.ssh.port
    ports = {
        each.port
        for each in found.listening.listeners
        if each.process in SSH_PROGRAMS and not each.loopback_only
    }
    return SSH_PORT if SSH_PORT in ports or not ports else min(ports)


def _place(options: SshOptions, found: Found, reach: MachineReach) -> KeyPlace:
    machine = found.machine
    if reach.link is not None:
        if options.user is not None and options.user != reach.link.access.user:
            raise UsageError(
                f"guests log in as the user that vshare logs in as, not as {options.user!r}",
                "leave --ssh-user out; it is for libvirt domains without SSH access (--domain)",
            )
        return AuthorizedKeys(reach.link)
    if machine.domain is not None:
        port = options.port or SSH_PORT
        access = SshAccess(machine.address, port, options.user) if machine.address else None
        return QemuAgentKeys(machine.domain, options.user, access)
    raise UsageError(
        f"there is no way to put a key into {machine.name}: no SSH, and no guest agent",
        "share it with --target ssh://USER@HOST, or as a libvirt domain with --domain NAME",
    )


async def _password(options: SshOptions, console: Console) -> str | None:
    """From a file, or asked for twice. Raises UsageError."""
    if not options.password:
        console.warn("the SSH key has no password: every guest who knows the code can log in")
        return None
    if options.password_file is not None:
        password = _read(options.password_file)
        check_password(password)
        return password
    while True:
        password = await ask_hidden(
            "Please enter a password to encrypt the key: ", WITHOUT_TERMINAL
        )
        try:
            check_password(password)
        except UsageError as error:
            console.detail(f"{error.text}: {error.hint}")
            continue
        again = await ask_hidden("Repeat the password to confirm: ", WITHOUT_TERMINAL)
        if again == password:
            return password
        console.detail(f"They are not the same. It has {MIN_PASSWORD} characters or more.")


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(4 * MAX_PASSWORD).decode("utf-8", "replace").strip()
    except OSError as error:
        raise UsageError(
            f"cannot read the password from {path}: {(error.strerror or '').lower()}",
            WITHOUT_TERMINAL,
        ) from error
