"""`--domain`: a plain libvirt domain, and the addresses of any. libvirt is imported when needed."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from threading import Thread
from typing import TYPE_CHECKING, Protocol, TypeVar

from tunnel.errors import VshareError
from vshare.machine import Machine, Source, parse_ip

if TYPE_CHECKING:
    from types import ModuleType

# libvirt answers in milliseconds; but it waits for a guest agent that hangs, and may do so forever.
LIBVIRT_TIMEOUT_SECONDS = 20.0
_URI = "qemu:///system"  # where vagrant-libvirt and virt-manager have their domains
_MAC = re.compile(r"<mac address=['\"]([0-9A-Fa-f:]{17})['\"]")

_Result = TypeVar("_Result")
_Interfaces = Mapping[str, Mapping[str, object]]


class Domain(Protocol):
    """What is used of libvirt's virDomain."""

    def name(self) -> str:
        """The domain's name."""

    def isActive(self) -> int:  # noqa: N802 - libvirt's spelling
        """1 when it runs."""

    def XMLDesc(self) -> str:  # noqa: N802 - libvirt's spelling
        """Its description."""

    def interfaceAddresses(self, source: int) -> _Interfaces:  # noqa: N802 - libvirt's spelling
        """Its interfaces and their addresses, as `source` knows them. Raises libvirtError."""


async def find(name: str) -> Machine:
    """The running domain `name` (or its UUID). Raises VshareError.

    How to log in to it is not known to libvirt, so it has no SSH access.
    """

    def look(libvirt: ModuleType, domain: Domain) -> Machine:
        if not domain.isActive():
            raise VshareError(
                f"the domain {name!r} is not running", f"start it with `virsh start {name}`"
            )
        address = domain_address(libvirt, domain)
        if address is None:
            raise VshareError(
                f"the domain {name!r} has no address that libvirt knows of (asked: DHCP leases,"
                " guest agent, ARP)",
                "give its address with --target ADDRESS, or install qemu-guest-agent in it",
            )
        return Machine(
            name=domain.name(),
            provider="libvirt",
            state="running",
            address=address,
            source=Source.LIBVIRT,
            domain=name,
        )

    return await with_domain(name, look)


async def find_address(domain_id: str) -> str | None:
    """The address of the domain with this UUID, None when libvirt cannot say. Does not raise."""
    try:
        return await with_domain(domain_id, domain_address)
    except VshareError:
        return None


async def find_addresses(domain_id: str) -> tuple[list[str], list[str]] | None:
    """What its network's DHCP server leased to the domain, and what this host's ARP table has for
    it; None when it does not run. Nothing when libvirt cannot say; does not raise."""

    def look(libvirt: ModuleType, domain: Domain) -> tuple[list[str], list[str]] | None:
        if not domain.isActive():
            return None
        macs = {mac.lower() for mac in _MAC.findall(domain.XMLDesc())}
        leased, neighbours = (
            _asked(libvirt, domain, source, macs)
            for source in (
                libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_LEASE,
                libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_ARP,
            )
        )
        return leased, neighbours

    try:
        return await with_domain(domain_id, look)
    except VshareError:
        return [], []


def _asked(libvirt: ModuleType, domain: Domain, source: int, macs: Iterable[str]) -> list[str]:
    try:
        return usable_addresses(domain.interfaceAddresses(source), macs)
    except libvirt.libvirtError:
        return []  # no agent, no such network: the next source may know


def domain_address(libvirt: ModuleType, domain: Domain) -> str | None:
    """The first usable address that the DHCP leases, the guest agent or the ARP table has."""
    macs = {mac.lower() for mac in _MAC.findall(domain.XMLDesc())}
    for source in (
        libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_LEASE,
        libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_AGENT,
        libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_ARP,
    ):
        if addresses := _asked(libvirt, domain, source, macs):
            return addresses[0]
    return None


def pick_address(interfaces: _Interfaces, macs: Iterable[str]) -> str | None:
    """The first of `usable_addresses`, if there is one."""
    found = usable_addresses(interfaces, macs)
    return found[0] if found else None


def usable_addresses(interfaces: _Interfaces, macs: Iterable[str]) -> list[str]:
    """The addresses of interfaces that the host connects to (a MAC in `macs`), IPv4 first.

    The guest agent also lists what is inside the machine alone: loopback, container bridges.
    """
    wanted = set(macs)
    found = []
    for interface in interfaces.values():
        addresses = interface.get("addrs")
        if str(interface.get("hwaddr")).lower() not in wanted or not isinstance(addresses, list):
            continue
        for entry in addresses:
            address = parse_ip(str(entry.get("addr"))) if isinstance(entry, dict) else None
            if address and not (address.is_loopback or address.is_link_local):
                found.append(address)
    return [str(each) for each in sorted(found, key=lambda address: address.version)]


async def with_domain(name: str, look: Callable[[ModuleType, Domain], _Result]) -> _Result:
    """Call `look` with libvirt and the domain, in a thread. Raises VshareError."""
    done: Future[_Result] = Future()
    done.set_running_or_notify_cancel()  # nobody can stop it from now on

    def work() -> None:
        try:
            done.set_result(_look_up(name, look))
        except BaseException as error:
            done.set_exception(error)

    # asyncio.run and the interpreter wait for threads of a pool; not for one that may never end.
    Thread(target=work, name=f"libvirt: {name}", daemon=True).start()
    try:
        async with asyncio.timeout(LIBVIRT_TIMEOUT_SECONDS):
            return await asyncio.wrap_future(done)
    except TimeoutError:
        raise VshareError(
            f"libvirt did not answer in {LIBVIRT_TIMEOUT_SECONDS:.0f} s",
            "see whether `virsh list` works",
        ) from None


def _look_up(name: str, look: Callable[[ModuleType, Domain], _Result]) -> _Result:
    libvirt = _import_libvirt()
    uri = os.environ.get("LIBVIRT_DEFAULT_URI") or _URI
    # Without this, libvirt prints each error itself.
    libvirt.registerErrorHandler(lambda _context, _error: None, None)
    try:
        connection = libvirt.open(uri)
    except libvirt.libvirtError as error:
        raise VshareError(
            f"no connection to libvirt at {uri}: {error}",
            "is libvirtd running, and are you in the group libvirt? `virsh list` shows it",
        ) from error
    try:
        return look(libvirt, _domain(libvirt, connection, name))
    except libvirt.libvirtError as error:
        raise VshareError(f"libvirt: {error}", "see whether `virsh list` works") from error
    finally:
        connection.close()


def _domain(libvirt: ModuleType, connection: _Connection, name: str) -> Domain:
    for look in (connection.lookupByName, connection.lookupByUUIDString):
        try:
            return look(name)
        except libvirt.libvirtError:
            continue
    known = sorted(domain.name() for domain in connection.listAllDomains())
    raise VshareError(
        f"libvirt has no domain {name!r}",
        f"it has: {', '.join(known)}" if known else "it has none at all; see `virsh list --all`",
    )


class _Connection(Protocol):
    """What is used of libvirt's virConnect."""

    def lookupByName(self, name: str) -> Domain: ...  # noqa: N802 - libvirt's spelling

    def lookupByUUIDString(self, uuid: str) -> Domain: ...  # noqa: N802 - libvirt's spelling

    def listAllDomains(self) -> list[Domain]: ...  # noqa: N802 - libvirt's spelling


def _import_libvirt() -> ModuleType:
    try:
        import libvirt
    except ImportError as error:
        raise VshareError(
            "libvirt-python is not installed",
            "pip install 'vshare[libvirt]' (it needs libvirt-dev, pkg-config and gcc),"
            " or give the machine's address with --target ADDRESS",
        ) from error
    module: ModuleType = libvirt
    return module
