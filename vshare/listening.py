"""What listens on the machine: asked over SSH, with `ss` where there is one, else from /proc.

The machine's output is a peer's: parsed line by line, what does not fit is left out.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import resources
from typing import Literal

from tunnel.errors import VshareError
from vshare.machine import parse_ip
from vshare.ssh_link import SshLink

Protocol = Literal["tcp", "udp"]

MAX_LISTENERS = 2048  # more is not a development machine, and nobody reads the list
MAX_PROCESS_NAME = 64  # the kernel's own limit is 15 (proc(5), comm)
# /proc/net states (include/net/tcp_states.h): a TCP listener; a UDP socket without a peer.
_STATES: dict[Protocol, str] = {"tcp": "0A", "udp": "07"}

_SS_PROCESS = re.compile(r'users:\(\("([^"]*)"')
_PROC_LINE = re.compile(
    r"\s*\d+: ([0-9A-F]{8}|[0-9A-F]{32}):([0-9A-F]{4}) [0-9A-F]+:[0-9A-F]{4} ([0-9A-F]{2}) "
    r"\S+ \S+ \S+ +\d+ +\d+ (\d+)(?: .*)?"
)
_SECTION = re.compile(r"== (ss|tcp|tcp6|udp|udp6|fd)")


@dataclass(frozen=True, slots=True, order=True)
class Listener:
    """One listening socket. `process` is its program's name, "" when it is not known."""

    protocol: Protocol
    port: int
    address: str
    process: str = ""

    @property
    def loopback_only(self) -> bool:
        """Whether only programs inside the machine reach it."""
        address = parse_ip(self.address)
        return address is not None and address.is_loopback


@dataclass(frozen=True, slots=True)
class Listening:
    """All listeners, in order; `unknown` says why they are not known, else it is empty."""

    listeners: tuple[Listener, ...] = ()
    unknown: str = ""

    def open_ports(self, protocol: Protocol) -> tuple[int, ...]:
        """The ports that are reached from outside the machine, lowest first."""
        return tuple(
            sorted(
                {
                    each.port
                    for each in self.listeners
                    if each.protocol == protocol and not each.loopback_only
                }
            )
        )


async def find_listeners(link: SshLink | None, *, as_root: bool) -> Listening:
    """Ask the machine. Does not raise: what cannot be known is not an error.

    `as_root` tries `sudo -n` for the names of other users' programs: for Vagrant machines,
    where it works; elsewhere a failed sudo would be reported to an administrator.
    """
    if link is None:
        return Listening(unknown="what listens is asked over SSH, and there is none")
    script = resources.files("vshare.helpers").joinpath("listening.sh").read_text()
    header = "sudo='sudo -n'\n" if as_root else "sudo=\n"
    try:
        output = await link.run("sh -s", stdin=(header + script).encode())
    except VshareError as error:
        return Listening(unknown=error.text)
    listeners = parse_listeners(output.decode("utf-8", "replace"))
    if not listeners:
        return Listening(unknown="the machine did not say what listens on it")
    return Listening(listeners)


def parse_listeners(text: str) -> tuple[Listener, ...]:
    """The listeners in what helpers/listening.sh printed."""
    sections: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in text.splitlines():
        if match := _SECTION.fullmatch(line):
            lines = sections.setdefault(match[1], [])
        else:
            lines.append(line)
    found = set(parse_ss(sections.get("ss", ())))
    names = _parse_names(sections.get("fd", ()))
    for section in ("tcp", "tcp6", "udp", "udp6"):
        found.update(parse_proc_net(sections.get(section, ()), section, names))
    return tuple(sorted(found)[:MAX_LISTENERS])


def parse_ss(lines: Iterable[str]) -> Iterator[Listener]:
    """The listeners in lines of `ss -H -tulnp` (ss(8))."""
    for line in lines:
        fields = line.split(None, 6)
        if len(fields) < 6 or fields[0] not in ("tcp", "udp"):
            continue
        host, _, port = fields[4].rpartition(":")
        host = host.strip("[]").partition("%")[0]
        address = parse_ip("::" if host == "*" else host)
        if address is None or not port.isascii() or not port.isdigit() or len(port) > 5:
            continue
        name = _SS_PROCESS.search(fields[6]) if len(fields) > 6 else None
        protocol: Protocol = "tcp" if fields[0] == "tcp" else "udp"
        if 0 < int(port) < 65_536:
            yield Listener(protocol, int(port), str(address), _clean(name[1] if name else ""))


def parse_proc_net(lines: Iterable[str], section: str, names: dict[str, str]) -> Iterator[Listener]:
    """The listeners in /proc/net/`section` (proc(5)); `names`: programs by socket inode.

    Addresses there are in the machine's byte order, read as little-endian.
    """
    protocol: Protocol = "tcp" if section.startswith("tcp") else "udp"
    for line in lines:
        match = _PROC_LINE.fullmatch(line)
        if match is None or match[3] != _STATES[protocol] or match[2] == "0000":
            continue
        words = bytes.fromhex(match[1])
        packed = b"".join(words[at : at + 4][::-1] for at in range(0, len(words), 4))
        address = parse_ip(str(ipaddress.ip_address(packed)))
        yield Listener(protocol, int(match[2], 16), str(address), names.get(match[4], ""))


def _parse_names(lines: Iterable[str]) -> dict[str, str]:
    """Programs by socket inode, from lines `INODE NAME`; the first that has it counts."""
    names: dict[str, str] = {}
    for line in lines:
        inode, _, name = line.partition(" ")
        if inode.isascii() and inode.isdigit():
            names.setdefault(inode, _clean(name))
    return names


def _clean(name: str) -> str:
    """A program's name, fit for a terminal: programs choose theirs freely."""
    return "".join(each for each in name if each.isprintable())[:MAX_PROCESS_NAME]
