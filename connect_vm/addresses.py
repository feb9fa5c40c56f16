"""A static IP that nothing else on this host uses (docs/architecture.md).

Each connect VM has a small network of its own: the host's bridge, the static IP, and the
agent's control address. The choice is locked for as long as vconnect runs, because two that
start together would both find the same one free.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv4Network
from pathlib import Path

import platformdirs

from tunnel.errors import UsageError, VshareError

POOL = IPv4Network("172.16.0.0/12")  # RFC 1918, and the part of it that is used least
PREFIX = 29  # host, static and control, with room for none else
WIDEST = 24  # for a chosen address that would be the first or last of its smaller network
PRIVATE = tuple(map(IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")))
# Shorter ones are default routes in disguise (VPNs add 0.0.0.0/1 and 128.0.0.0/1).
SHORTEST_ROUTE = 8
FIB = Path("/proc/net/fib_trie")  # every table, rules for them or not; proc(5)
LOCKS = Path("/run/lock")  # shared by all users, unlike a runtime directory
_LEAF = re.compile(r"\|-- (\S+)")
_ROUTE = re.compile(r"/(\d+) ")
_HINT = "choose another with --static-ip, or go without: --disable-static-ip"


class AddressError(VshareError):
    """No static IP could be had."""


@dataclass(frozen=True, slots=True)
class Addresses:
    """The network of one connect VM."""

    network: IPv4Network
    host: IPv4Address
    static: IPv4Address
    control: IPv4Address
    more: tuple[IPv4Address, ...] = ()  # static ones as well, of the machines behind the first

    @property
    def statics(self) -> tuple[IPv4Address, ...]:
        """One for each machine."""
        return (self.static, *self.more)


def routed(fib_trie: str) -> set[IPv4Network]:
    """The networks and addresses that a dump of /proc/net/fib_trie has a route for."""
    found = set()
    leaf = ""
    for line in fib_trie.splitlines():
        if match := _LEAF.search(line):
            leaf = match[1]
        elif leaf and (match := _ROUTE.match(line.strip())) and int(match[1]) >= SHORTEST_ROUTE:
            found.add(IPv4Network((leaf, int(match[1])), strict=False))
    return found


def parse_static_ip(text: str) -> IPv4Address:
    """`--static-ip`: a private unicast address. Raises UsageError."""
    try:
        address = IPv4Address(text.strip())
    except AddressValueError:
        raise UsageError(f"not an IPv4 address: {text!r}", "such as 172.16.0.2") from None
    if not any(address in network for network in PRIVATE):
        raise UsageError(
            f"the static IP {address} is invalid: it is not a private address",
            "choose one in 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16, or let vconnect choose",
        )
    return address


def around(static: IPv4Address, count: int = 1) -> Addresses:
    """The smallest network that `static`, and `count` - 1 that follow it, can have a place in.
    Raises UsageError."""
    statics = tuple(static + number for number in range(count))
    for prefix in range(PREFIX, WIDEST - 1, -1):
        network = IPv4Network((static, prefix), strict=False)
        ends = network.network_address, network.broadcast_address
        others = [address for address in network.hosts() if address not in statics]
        if all(one in network and one not in ends for one in statics) and len(others) >= 2:
            return Addresses(network, others[0], static, others[1], statics[1:])
    which = f"{static} is invalid: it is" if count == 1 else f"{statics[-1]} is invalid: it is"
    raise UsageError(
        f"the static IP {which} the first or last address of its network",
        "choose one that ends in 1 to 254, and that as many can follow as there are machines",
    )


@contextmanager
def reserve(
    requested: str | None = None,
    used: Iterable[IPv4Network] = (),
    *,
    fib: Path = FIB,
    locks: Path | None = None,
    count: int = 1,
) -> Iterator[Addresses]:
    """Hold a free network until left, with `count` static IPs.

    requested: a static IP that was asked for. used: networks that are taken though no route
    says so, such as libvirt's inactive ones. Raises UsageError for a static IP that cannot
    be one, AddressError when it is in use or none is free.
    """
    taken = routed(fib.read_text(encoding="ascii")).union(used)
    directory = locks or _lock_directory()
    for addresses in _chosen(requested, taken, count) if requested else _candidates(taken, count):
        lock = _lock(directory, addresses.network)
        if lock is None:
            continue
        descriptor, path = lock
        try:
            yield addresses
        finally:
            path.unlink(missing_ok=True)
            os.close(descriptor)
        return
    if requested:
        raise AddressError(
            f"the static IP {requested} is in use: its network is this host's already",
            "choose another one, or leave --static-ip out: vconnect finds a free one",
        )
    raise AddressError(f"no static IP is free: all of {POOL} is in use on this host", _HINT)


def _chosen(requested: str, taken: set[IPv4Network], count: int) -> Iterator[Addresses]:
    addresses = around(parse_static_ip(requested), count)
    if not any(network.overlaps(addresses.network) for network in taken):
        yield addresses


def _candidates(taken: set[IPv4Network], count: int) -> Iterator[Addresses]:
    """Every free block of the pool; a route that covers many is stepped over at once."""
    prefix = around(POOL[2], count).network.prefixlen
    size = 1 << (POOL.max_prefixlen - prefix)
    start, end = int(POOL.network_address), int(POOL.broadcast_address)
    while start < end:
        block = IPv4Network((start, prefix))
        hit = next((network for network in taken if network.overlaps(block)), block)
        if hit is block:
            yield around(block[2], count)
        start = max(start, int(hit.broadcast_address) // size * size) + size


def _lock_directory() -> Path:
    if os.access(LOCKS, os.W_OK):
        return LOCKS
    return platformdirs.user_runtime_path("vshare", ensure_exists=True)


def _lock(directory: Path, network: IPv4Network) -> tuple[int, Path] | None:
    """A lock that ends with the process; None when another one holds it."""
    path = directory / f"vconnect-{network.network_address}.lock"
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except PermissionError:
        return None  # another user's
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Whoever released it has removed the file, perhaps after we opened it.
        if os.fstat(descriptor).st_ino == path.stat().st_ino:
            return descriptor, path
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(descriptor)
    return None
