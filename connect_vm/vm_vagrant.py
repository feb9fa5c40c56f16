"""The connect VM under Vagrant, for those whose machines run in something else than libvirt.

python-vagrant runs `vagrant up` in a temporary folder whose Vagrantfile boots the same kernel
and initramfs. The machine has no SSH server and needs none: what is waited for is its agent.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
import tempfile
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import vagrant

from connect_vm.addresses import Addresses, reserve
from connect_vm.images import AGENT_PORT, KERNEL, Image, find_image, stage
from connect_vm.vm import SECRET_SIZE, Machine, VmError, Wish, agent_answers
from connect_vm.vm_libvirt import kvm_is_broken, power_off

UP_SECONDS = 300.0  # Vagrant's own start takes 10 s, the first time it also unpacks the box
POLL_SECONDS = 0.2
MEMORY_MIB = 128
KVM = "/dev/kvm"
BOX_NAME = "vshare-connect"
ELSEWHERE = frozenset(("VAGRANT_CWD", "VAGRANT_DOTFILE_PATH", "VAGRANT_VAGRANTFILE"))
ID = ".vagrant/machines/default/libvirt/id"  # where vagrant-libvirt keeps the domain's UUID

# `%s` are JSON strings, which Ruby reads as its own. A machine without SSH never becomes
# "ready" for Vagrant, so `up` is ended as soon as the agent answers.
VAGRANTFILE = """\
Vagrant.configure("2") do |config|
  config.vm.box = %(name)s
  config.vm.box_url = %(box)s
  config.vm.synced_folder ".", "/vagrant", disabled: true
  config.vm.boot_timeout = 600
  config.vm.network :private_network, ip: %(static)s, netmask: %(netmask)s,
    libvirt__network_name: %(network)s, libvirt__dhcp_enabled: false,
    libvirt__host_ip: %(host)s, libvirt__forward_mode: "none", auto_config: false
  config.vm.provider :libvirt do |libvirt|
    libvirt.driver = %(kind)s
    libvirt.kernel = %(kernel)s
    libvirt.initrd = %(initramfs)s
    libvirt.cmd_line = %(line)s
    libvirt.memory = %(memory)d
    libvirt.cpus = 1
    libvirt.graphics_type = "none"
    libvirt.mgmt_attach = false
  end
end
"""


class VagrantDriver:
    """See connect_vm.vm.run."""

    def __init__(self, wish: Wish) -> None:
        self._wish = wish

    async def start(self, stack: AsyncExitStack) -> Machine:
        """Boot it; `stack` removes all that was made."""
        if _executable() is None:
            raise VmError("Vagrant is not installed", "install it, or use --driver libvirt")
        image = await asyncio.to_thread(find_image)
        addresses = stack.enter_context(reserve(self._wish.static_ip, count=self._wish.machines))
        folder = Path(tempfile.mkdtemp(prefix="vconnect-vagrant-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        secret = secrets.token_bytes(SECRET_SIZE)
        initramfs = await asyncio.to_thread(stage, folder, image, addresses, secret)
        (folder / "Vagrantfile").write_text(vagrantfile(image, initramfs, addresses))
        machine = vagrant.Vagrant(str(folder), env=environment())  # type: ignore[no-untyped-call]
        stack.push_async_callback(_destroy, machine, folder / ID)
        self._wish.progress("starting the connect VM under Vagrant")
        await self._up(machine, addresses)
        return Machine(addresses.statics, addresses.control, AGENT_PORT, secret)

    async def _up(self, machine: vagrant.Vagrant, addresses: Addresses) -> None:
        """`vagrant up`, until the agent answers. Raises VmError."""
        command = [_executable() or "vagrant", "up", "--no-provision"]
        with tempfile.TemporaryFile() as output:
            process = await asyncio.create_subprocess_exec(
                *command, cwd=machine.root, env=environment(), stdout=output, stderr=output
            )
            try:
                async with asyncio.timeout(UP_SECONDS):
                    while not await agent_answers(addresses.control, AGENT_PORT):
                        if process.returncode:
                            break
                        await asyncio.sleep(POLL_SECONDS)
                    else:
                        return
            except TimeoutError:
                pass
            finally:
                await _interrupt(process)
            output.seek(0)
            words = output.read().decode(errors="replace").strip().splitlines()
        raise VmError(
            f"Vagrant did not start the connect VM: {words[-1] if words else 'no output'}",
            "try --driver libvirt, or --disable-static-ip",
        )


def environment() -> dict[str, str]:
    """The user's, without what makes Vagrant leave the folder where it is run: what is there is the
    user's own machine, and would be destroyed in the place of ours."""
    return {name: value for name, value in os.environ.items() if name not in ELSEWHERE}


async def _destroy(machine: vagrant.Vagrant, id_file: Path) -> None:
    """Remove it. It is off by then: of one that runs, vagrant-libvirt asks seven times for an
    address that none of its networks has given, and waits 3 s each time."""
    with suppress(OSError):
        await power_off((await asyncio.to_thread(id_file.read_text)).strip())
    await asyncio.to_thread(machine.destroy)


def _executable() -> str | None:
    path: str | None = vagrant.get_vagrant_executable()  # type: ignore[no-untyped-call]
    return path


async def _interrupt(process: asyncio.subprocess.Process) -> None:
    """End `vagrant up` as Ctrl-C does; it leaves the machine as it is."""
    if process.returncode is None:
        process.terminate()
        await process.wait()


def vagrantfile(image: Image, initramfs: Path, addresses: Addresses) -> str:
    """The Vagrantfile of one connect VM."""
    texts = {
        "name": BOX_NAME,
        "kind": "kvm" if os.access(KVM, os.R_OK | os.W_OK) and not kvm_is_broken() else "qemu",
        "box": image.box.as_uri(),
        "static": str(addresses.static),
        "netmask": str(addresses.network.netmask),
        "host": str(addresses.host),
        "network": f"vconnect-{addresses.network.network_address}",
        "kernel": str(initramfs.with_name(KERNEL)),
        "initramfs": str(initramfs),
        "line": image.command_line,
    }
    quoted = {key: json.dumps(text).replace("#", "\\#") for key, text in texts.items()}
    return VAGRANTFILE % {**quoted, "memory": MEMORY_MIB}
