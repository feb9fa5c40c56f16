"""`vconnect --ssh`: join a share, get its SSH key, and hand the terminal to `ssh`."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from connect_vm import ssh_builtin, ssh_run
from connect_vm.notices import Notices
from connect_vm.session import Options, ShareInfo, Watch, join, share_info
from connect_vm.ssh_key import Asking, fetch_key
from connect_vm.ways import Guest, Ways, guest_client, networks_for
from tunnel.address import parse_connect_line
from tunnel.client import Client
from tunnel.console import Console, Interrupt
from tunnel.errors import UsageError, VshareError
from tunnel.prompt import ask_hidden

MAX_PASSWORD_FILE = 2048  # bytes; a password has at most 256 characters
_PASSWORD_HINT = "use --ssh-password-file FILE"


async def connect_ssh(options: Options, console: Console, interrupt: Interrupt) -> int:
    """Log in and stay until `ssh` ends; its exit code. Raises VshareError.

    No SOCKS server and no VM is started, and the key is in this process's memory alone.
    """
    line = parse_connect_line(options.line)
    program = ssh_run.find_ssh()
    if program is None:
        ssh_builtin.check_arguments(options.ssh_arguments)
    asking = _asking(options.ssh_password_file)
    console.step(f"Loading share '{line.name}'...")
    dial, identity = await join(options, line, console)
    notices = Notices(console, line.relay)
    watch = Watch(line.name, console, notices)
    guest = Guest(identity, line.name)
    ways = Ways(  # of which nothing is told: the screen is the machine's
        dial, guest, lambda place, why: None, networks_for(relay_only=options.relay_only)
    )
    async with guest_client(ways, guest, watch.changed, notices) as client:
        info = await _require_ssh(client, console)
        login = await fetch_key(client, identity, asking if info.ssh != "open" else None, console)
        console.step("Executing SSH...")
        interrupt.serving = True
        run = ssh_builtin.run if program is None else partial(ssh_run.run, program)
        stops = (interrupt.stopped, notices.over)
        try:
            code = await run(client, line.name, login, options.ssh_arguments, *stops)
        except VshareError as error:
            raise notices.error or error from error
        if notices.error is not None:
            raise notices.error  # says why `ssh` failed
        return code


async def _require_ssh(client: Client, console: Console) -> ShareInfo:
    """What the share says about SSH. Raises VshareError when it is not shared."""
    info = await share_info(client)
    if info.ssh is None:
        raise VshareError(
            "SSH is not shared",
            "the sharer can share it with `vshare up --ssh`; a key that is handed out once may be"
            " used up already",
        )
    if info.ssh_once:
        console.detail("The key of this share is handed out once.")
    if info.ssh != "open":
        console.detail("The key has a password: ask the sharer for it.")
    return info


def _asking(file: Path | None) -> Asking:
    """How the password is asked for: on the terminal, or in a file, which is read now."""
    if file is None:
        return Asking(lambda: ask_hidden("Password for the private key: ", _PASSWORD_HINT))
    try:
        with file.open("rb") as opened:
            text = opened.read(MAX_PASSWORD_FILE).decode("utf-8", "replace").strip()
    except OSError as error:
        raise UsageError(
            f"cannot read the SSH password from {file}: {(error.strerror or '').lower()}",
            "put the password into a file and name it with --ssh-password-file FILE",
        ) from error
    if not text:
        raise UsageError(f"there is no password in {file}", "write it there, in one line")

    async def ask() -> str:
        return text

    return Asking(ask, tries=1)  # what was wrong once is wrong again
