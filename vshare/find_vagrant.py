"""The machine of the Vagrant environment that the current directory is in.

Each call of `vagrant` takes a second or two, so there are two steps: `status` for all machines,
then `ssh-config` and `port` for the chosen one, side by side.
"""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

import vagrant

from tunnel.errors import VshareError
from vshare import find_libvirt
from vshare.machine import (
    SSH_PORT,
    ForwardedPort,
    Machine,
    Source,
    SshAccess,
    is_loopback,
    known_hosts_file,
)

# Ruby, plugins and a slow disk included; beyond, it hangs.
VAGRANT_TIMEOUT_SECONDS = 60.0
# `vagrant port` only says "not supported" there, after a second and a half.
_WITHOUT_PORT_LIST = frozenset({"libvirt"})
_RUNNING = "running"
_ERROR_EXIT = re.compile(r"^\d+,[^,]*,error-exit,[^,]+,(.*)$", re.MULTILINE)
_PORT = re.compile(r"[0-9]{1,5}")
_PORT_LINE = re.compile(r"\d+,[^,]*,forwarded_port,(\d{1,5}),(\d{1,5})")
_PROXY_NONE = ("", "none")

_Result = TypeVar("_Result")


async def find(name: str | None = None, directory: Path | None = None) -> Machine:
    """The running machine `name`, or the only one that runs, of `directory` or its parents.

    Raises VshareError: no environment, no such machine, none running, several and none named.
    """
    root = find_root(directory or Path.cwd())
    calls = _Calls(root)
    status = choose(await calls.status(), name)
    ssh, ports = await calls.details(status)
    domain = _domain_id(root, status)
    return Machine(
        name=status.name,
        provider=status.provider or "unknown",
        state=status.state or "unknown",
        address=await _address(ssh, domain),
        source=Source.VAGRANT,
        ssh=ssh,
        forwarded=ports,
        directory=root,
        domain=domain,
    )


async def find_ssh(root: Path, name: str) -> SshAccess:
    """How to log in to the machine `name` now. Raises VshareError."""
    return await _Calls(root).ssh_config(name)


def find_root(directory: Path) -> Path:
    """The nearest directory with a Vagrantfile, as `vagrant` looks for it. Raises VshareError."""
    start = Path(os.environ.get("VAGRANT_CWD") or directory).absolute()
    file = os.environ.get("VAGRANT_VAGRANTFILE")
    names = (file,) if file else ("Vagrantfile", "vagrantfile")
    for each in (start, *start.parents):
        if any((each / name).is_file() for name in names):
            return each
    raise VshareError(
        f"no {names[0]} in {start} or above it",
        "go to a Vagrant environment; or share a libvirt domain with --domain NAME; or anything"
        " else with --target ADDRESS or --target ssh://USER@HOST",
    )


def choose(machines: Iterable[vagrant.Status], name: str | None) -> vagrant.Status:
    """The machine that is meant, and that runs. Raises VshareError."""
    known = {each.name: each for each in machines}
    if not known:
        raise VshareError("this Vagrant environment defines no machine", "see `vagrant status`")
    listing = ", ".join(f"{each.name} ({each.state})" for each in known.values())
    if name is not None and name not in known:
        raise VshareError(f"no machine {name!r} in this environment", f"it has: {listing}")
    running = [each for each in known.values() if each.state == _RUNNING]
    meant = known[name] if name is not None else None
    if meant is None and len(running) == 1:
        meant = running[0]
    if meant is None and len(running) > 1:
        names = [each.name for each in running]
        raise VshareError(
            f"several machines are running: {', '.join(names)}",
            f"name the one to share, such as `vshare up {names[0]}`; or all of them:"
            f" `vshare up {' '.join(names)}`",
        )
    if meant is None:
        command = "vagrant up" if len(known) == 1 else "vagrant up NAME"
        raise VshareError(f"no machine is running: {listing}", f"start one with `{command}`")
    if meant.state != _RUNNING:
        raise VshareError(
            f"the machine {meant.name!r} is not running, but {meant.state}",
            f"start it with `vagrant up {meant.name}`",
        )
    return meant


def parse_ssh_config(text: str) -> SshAccess:
    """The access that one Host section of `vagrant ssh-config` describes. Raises VshareError."""
    values: dict[str, list[str]] = {}
    for line in text.splitlines():
        key, _, value = line.strip().partition(" ")
        values.setdefault(key.lower(), []).append(value.strip().strip('"'))

    def first(key: str) -> str:
        return values.get(key, [""])[0]

    port = first("port") or str(SSH_PORT)
    if not first("hostname") or not _is_port(port):
        raise VshareError(
            "`vagrant ssh-config` does not say how to log in to the machine",
            "see whether `vagrant ssh` works",
        )
    checked = first("stricthostkeychecking").lower() in ("yes", "ask", "accept-new")
    proxy = first("proxycommand")
    return SshAccess(
        host=first("hostname"),
        port=int(port),
        user=first("user") or None,
        key_files=tuple(Path(value) for value in values.get("identityfile", ())),
        known_hosts=known_hosts_file() if checked else None,
        proxy_command=None if proxy.lower() in _PROXY_NONE else proxy,
    )


def parse_ports(text: str) -> tuple[ForwardedPort, ...]:
    """The forwarded ports in the output of `vagrant port --machine-readable`."""
    found = (_PORT_LINE.fullmatch(line.strip()) for line in text.splitlines())
    pairs = (each.groups() for each in found if each)
    return tuple(
        ForwardedPort(int(guest), int(host))
        for guest, host in pairs
        if _is_port(guest) and _is_port(host)
    )


def _is_port(text: str) -> bool:
    return bool(_PORT.fullmatch(text)) and 1 <= int(text) <= 65_535


def error_text(output: str) -> str:
    """What `vagrant --machine-readable` failed with, its first paragraph on one line; or ""."""
    match = _ERROR_EXIT.search(output)
    if not match:
        return ""
    text = match[1].replace("%!(VAGRANT_COMMA)", ",").replace("\\n", "\n")
    return " ".join(text.partition("\n\n")[0].split())


async def _address(ssh: SshAccess, domain: str | None) -> str | None:
    """Where every port of the machine can be dialled, None when only SSH leads there.

    A loopback address is a forwarded port (VirtualBox's NAT); a proxy command leads through
    another host.
    """
    if ssh.proxy_command is not None:
        return None
    if not is_loopback(ssh.host):
        return ssh.host
    return await find_libvirt.find_address(domain) if domain else None


def _domain_id(root: Path, status: vagrant.Status) -> str | None:
    """The libvirt domain's UUID, which vagrant-libvirt keeps in a file."""
    if status.provider != "libvirt":
        return None
    data = Path(os.environ.get("VAGRANT_DOTFILE_PATH") or ".vagrant")
    file = root / data / "machines" / str(status.name) / "libvirt" / "id"
    try:
        return file.read_text().strip()
    except OSError:
        return None


class _Vagrant(vagrant.Vagrant):
    """python-vagrant, with a deadline, and with a process that can be ended."""

    def __init__(self, root: Path) -> None:
        env = {**os.environ, "VAGRANT_CHECKPOINT_DISABLE": "1"}
        super().__init__(root=str(root), env=env)  # type: ignore[no-untyped-call]  # untyped
        self._process: subprocess.Popen[str] | None = None
        self._stopped = False

    def stop(self) -> None:
        self._stopped = True
        if self._process is not None:
            self._process.kill()

    def _run_vagrant_command(self, args: list[str | None]) -> str:
        """See python-vagrant. Raises VshareError."""
        try:
            # python-vagrant is untyped, here and below.
            command = self._make_vagrant_command(args)  # type: ignore[no-untyped-call]
        except RuntimeError as error:
            raise VshareError(
                "the command `vagrant` was not found",
                "install Vagrant; or share a libvirt domain with --domain NAME, or anything else"
                " with --target ADDRESS",
            ) from error
        shown = " ".join(["vagrant", *command[1:]])
        with subprocess.Popen(
            command,
            cwd=self.root,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        ) as self._process:
            if self._stopped:
                self._process.kill()
            output, complaint = self._process.communicate()
        if self._process.returncode != 0:
            text = error_text(output) or " ".join(complaint.split()) or "no reason given"
            raise VshareError(f"`{shown}` failed: {text}", f"see what `{shown}` says")
        return str(output)


class _Calls:
    """`vagrant` in threads; each call has a deadline and is ended when it is cancelled."""

    def __init__(self, root: Path) -> None:
        self._root = root

    async def status(self) -> list[vagrant.Status]:
        """All machines of the environment."""
        return await self._call(
            lambda client: list(client.status())  # type: ignore[no-untyped-call]  # untyped
        )

    async def details(self, status: vagrant.Status) -> tuple[SshAccess, tuple[ForwardedPort, ...]]:
        """How to log in to a machine, and its forwarded ports, asked at the same time."""
        try:
            async with asyncio.TaskGroup() as group:
                ssh = group.create_task(self.ssh_config(status.name), name="vagrant ssh-config")
                ports: tuple[ForwardedPort, ...] = ()
                if status.provider not in _WITHOUT_PORT_LIST:
                    ports = await self.ports(status.name)
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None  # there is one task
        return ssh.result(), ports

    async def ssh_config(self, name: str) -> SshAccess:
        """How to log in to `name`."""

        def call(client: _Vagrant) -> SshAccess:
            text = client.ssh_config(vm_name=name)  # type: ignore[no-untyped-call]  # untyped
            return parse_ssh_config(text)

        return await self._call(call)

    async def ports(self, name: str) -> tuple[ForwardedPort, ...]:
        """The forwarded ports of `name`; none where the provider cannot list them."""

        def call(client: _Vagrant) -> tuple[ForwardedPort, ...]:
            return parse_ports(client._run_vagrant_command(["port", name, "--machine-readable"]))

        try:
            return await self._call(call)
        except VshareError:
            return ()

    async def _call(self, call: Callable[[_Vagrant], _Result]) -> _Result:
        client = _Vagrant(self._root)
        try:
            async with asyncio.timeout(VAGRANT_TIMEOUT_SECONDS):
                return await asyncio.to_thread(call, client)
        except TimeoutError:
            raise VshareError(
                f"vagrant did not answer in {VAGRANT_TIMEOUT_SECONDS:.0f} s",
                "see whether `vagrant status` works; another vagrant may hold the machine's lock",
            ) from None
        finally:
            client.stop()
