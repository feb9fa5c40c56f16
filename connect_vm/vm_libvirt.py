"""The connect VM as a transient libvirt domain on an isolated network of its own.

Names carry our pid, so that what a killed vconnect left is found and removed by the next.
libvirt's calls block, so they run in a thread, one at a time.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import secrets
import shutil
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from ipaddress import IPv4Network
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from xml.sax.saxutils import escape

import platformdirs

from connect_vm.addresses import Addresses, reserve
from connect_vm.images import AGENT_PORT, KERNEL, find_image, stage
from connect_vm.vm import SECRET_SIZE, Machine, VmError, Wish, agent_answers

if TYPE_CHECKING:
    import libvirt

T = TypeVar("T")

URI = "qemu:///system"
MEMORY_MIB = 128
KVM_SECONDS = 20.0  # a guest under KVM is up in 2 s; one that hangs is as good as dead
TCG_SECONDS = 120.0  # 6 s on an idle machine; a busy one may need far more
POLL_SECONDS = 0.1
PREFIX = "vconnect-"
_NAME = re.compile(PREFIX + r"(\d+)")
_WITHOUT = "or go without a static IP: --disable-static-ip (the SOCKS server needs no VM)"

NETWORK_XML = """\
<network>
  <name>{name}</name>
  <bridge name="vc{pid}" stp="off" delay="0"/>
  <dns enable="no"/>
  <ip address="{host}" prefix="{prefix}"/>
</network>"""

DOMAIN_XML = """\
<domain type="{kind}">
  <name>{name}</name>
  <memory unit="MiB">{memory}</memory>
  <vcpu>1</vcpu>
  <os>
    <type arch="x86_64" machine="q35">hvm</type>
    <kernel>{kernel}</kernel>
    <initrd>{initramfs}</initrd>
    <cmdline>{line}</cmdline>
  </os>
  <features><acpi/></features>
  {cpu}
  <on_reboot>destroy</on_reboot>
  <on_crash>destroy</on_crash>
  <devices>
    <controller type="usb" model="none"/>
    <memballoon model="none"/>
    <interface type="network">
      <source network="{name}"/>
      <model type="virtio"/>
    </interface>
    {console}
  </devices>
</domain>"""

# What each kind of acceleration runs best on. Emulated: QEMU's default CPU has no random numbers,
# and the kernel would gather its own for a second of CPU time (docs/performance.md).
CPUS = {
    "kvm": '<cpu mode="host-passthrough"/>',
    "qemu": '<cpu mode="custom" match="exact" check="none"><model fallback="forbid">Nehalem</model>'
    '<feature policy="require" name="rdrand"/></cpu>',
}


class _DeadError(Exception):
    """The guest stopped, or did not come up in time."""


class LibvirtDriver:
    """See connect_vm.vm.run."""

    def __init__(self, wish: Wish) -> None:
        self._wish = wish
        self._name = f"{PREFIX}{os.getpid()}"

    async def start(self, stack: AsyncExitStack) -> Machine:
        """Boot it; `stack` removes all that was made."""
        image = await asyncio.to_thread(find_image)
        connection = await _thread(lambda: _connect())
        stack.push_async_callback(_thread, connection.close)
        await _thread(lambda: remove_leftovers(connection))
        used = await _thread(lambda: _networks(connection))
        addresses = stack.enter_context(
            reserve(self._wish.static_ip, used, count=self._wish.machines)
        )
        folder = Path(tempfile.mkdtemp(prefix=f"{self._name}-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        secret = secrets.token_bytes(SECRET_SIZE)
        initramfs = await asyncio.to_thread(stage, folder, image, addresses, secret)
        await self._make_network(stack, connection, addresses)
        stack.push_async_callback(self._destroy, connection)
        xml = self._domain_xml(folder, initramfs, image.command_line)
        await self._boot(connection, xml, addresses)
        return Machine(addresses.statics, addresses.control, AGENT_PORT, secret)

    async def _make_network(
        self, stack: AsyncExitStack, connection: libvirt.virConnect, addresses: Addresses
    ) -> None:
        xml = NETWORK_XML.format(
            name=self._name,
            pid=os.getpid(),
            host=addresses.host,
            prefix=addresses.network.prefixlen,
        )
        network = await _thread(lambda: connection.networkCreateXML(xml))
        stack.push_async_callback(_thread, network.destroy)

    def _domain_xml(self, folder: Path, initramfs: Path, line: str) -> Callable[[str], str]:
        console = '<serial type="null"/>'  # without a /dev/console the VM's init cannot start
        if self._wish.console:
            path = escape(str(self._wish.console.resolve()), {'"': "&quot;"})
            console = f'<serial type="file"><source path="{path}"/></serial>'
        return lambda kind: DOMAIN_XML.format(
            kind=kind,
            name=self._name,
            memory=MEMORY_MIB,
            kernel=escape(str(folder / KERNEL)),
            initramfs=escape(str(initramfs)),
            line=escape(line),
            cpu=CPUS[kind],
            console=console,
        )

    async def _boot(
        self, connection: libvirt.virConnect, xml: Callable[[str], str], addresses: Addresses
    ) -> None:
        """With KVM where it works, else emulated. Raises VmError."""
        progress = self._wish.progress
        kvm_failed = False
        if not kvm_is_broken() and await _thread(lambda: _offers_kvm(connection)):
            progress("starting the connect VM")
            try:
                await self._try(connection, xml("kvm"), addresses, KVM_SECONDS)
                return
            except (_DeadError, VmError) as error:
                await self._destroy(connection)
                cause = str(error).partition("\n")[0]  # QEMU may say much more
                progress(f"KVM does not work here ({cause}): emulating, which is slower")
                kvm_failed = True
        progress("starting the connect VM (emulated, without KVM: takes some seconds)")
        try:
            await self._try(connection, xml("qemu"), addresses, TCG_SECONDS)
        except _DeadError as error:
            raise VmError(
                f"the connect VM does not start: {error}", f"see its console with -v, {_WITHOUT}"
            ) from error
        if kvm_failed:  # and emulation did not: it was KVM's fault
            remember_broken_kvm()

    async def _try(
        self, connection: libvirt.virConnect, xml: str, addresses: Addresses, seconds: float
    ) -> None:
        """Create the domain and wait for its agent. Raises _DeadError, VmError."""
        domain = await _thread(lambda: connection.createXML(xml))
        try:
            async with asyncio.timeout(seconds):
                while not await agent_answers(addresses.control, AGENT_PORT):
                    await _thread(lambda: _check_alive(domain))
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError:
            raise _DeadError(f"no answer from it in {seconds:.0f} s") from None

    async def _destroy(self, connection: libvirt.virConnect) -> None:
        with suppress(VmError):  # it may be gone already
            await _thread(lambda: connection.lookupByName(self._name).destroy())


async def _thread(call: Callable[[], T]) -> T:
    """Run a libvirt call in a thread, to its end even when we are cancelled. Raises VmError."""
    task = asyncio.get_running_loop().run_in_executor(None, _translated, call)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])  # a half-made domain could not be found and removed
        raise


def _translated(call: Callable[[], T]) -> T:
    libvirt = _libvirt()
    try:
        return call()
    except libvirt.libvirtError as error:
        raise VmError(
            f"libvirt refused: {error}",
            f"check that libvirtd runs and that you are in the group libvirt, {_WITHOUT}",
        ) from error


def _libvirt() -> Any:
    try:
        import libvirt
    except ImportError:
        raise VmError(
            "the Python package libvirt-python is missing",
            f"install it (pip install 'vshare[libvirt]'; Debian: python3-libvirt), {_WITHOUT}",
        ) from None
    return libvirt


def _connect() -> libvirt.virConnect:
    libvirt = _libvirt()
    libvirt.registerErrorHandler(lambda _context, _error: None, None)  # else it prints
    try:
        return libvirt.open(URI)
    except libvirt.libvirtError as error:
        raise VmError(
            f"libvirt cannot be reached: {error}",
            "install libvirt-daemon-system and qemu-system-x86, join the group libvirt,"
            f" and see that libvirtd runs; {_WITHOUT}",
        ) from error


async def power_off(uuid: str) -> None:
    """End a domain at once, if this process can. Does not raise."""
    with suppress(VmError):
        connection = await _thread(_connect)
        try:
            await _thread(lambda: connection.lookupByUUIDString(uuid).destroy())
        finally:
            await _thread(connection.close)


def _networks(connection: libvirt.virConnect) -> list[IPv4Network]:
    """What libvirt's networks use, the inactive ones too."""
    found = []
    for network in connection.listAllNetworks():
        for ip in ET.fromstring(network.XMLDesc()).findall("ip"):
            if ip.get("family", "ipv4") == "ipv4" and ip.get("address"):
                mask = ip.get("prefix") or ip.get("netmask") or "24"
                found.append(IPv4Network(f"{ip.get('address')}/{mask}", strict=False))
    return found


def _offers_kvm(connection: libvirt.virConnect) -> bool:
    root = ET.fromstring(connection.getCapabilities())
    return any(domain.get("type") == "kvm" for domain in root.iter("domain"))


def _check_alive(domain: libvirt.virDomain) -> None:
    libvirt = _libvirt()
    try:
        state, _reason = domain.state()
    except libvirt.libvirtError:
        raise _DeadError("the guest died") from None
    if state not in (libvirt.VIR_DOMAIN_RUNNING, libvirt.VIR_DOMAIN_BLOCKED):
        raise _DeadError("the guest stopped with an internal error")


def remove_leftovers(connection: libvirt.virConnect) -> list[str]:
    """Remove domains and networks whose vconnect is dead; their names."""
    libvirt = _libvirt()
    removed = []
    for thing in (*connection.listAllDomains(), *connection.listAllNetworks()):
        match = _NAME.fullmatch(thing.name())
        if match and not _runs(int(match[1])):
            with suppress(libvirt.libvirtError):  # another vconnect may do the same
                thing.destroy()
                removed.append(thing.name())
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*-*"):
        match = _NAME.match(folder.name)
        if match and not _runs(int(match[1])):
            shutil.rmtree(folder, ignore_errors=True)
    return removed


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # another user's
    return True


def _memory() -> Path:
    return platformdirs.user_cache_path("vshare") / "kvm.json"


def kvm_is_broken() -> bool:
    """Was KVM found not to work on this kernel? A new kernel is a new try."""
    try:
        return bool(json.loads(_memory().read_bytes())["broken_on"] == os.uname().release)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def remember_broken_kvm() -> None:
    """So that the next start does not lose time on it."""
    with suppress(OSError):
        _memory().parent.mkdir(parents=True, exist_ok=True)
        _memory().write_text(json.dumps({"broken_on": os.uname().release}))
