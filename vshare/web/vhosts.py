"""The virtual hosts that the machine's web servers are configured with, read over SSH.

nginx and Apache are asked themselves where they may be run, else their files are read; those in
Docker containers as well, with the ports that lead there. What comes is a peer's: it is read
strictly, and what does not fit is left out. Names with wildcards or in patterns are no hosts that
could be asked for, and are told as left out.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from importlib import resources

from tunnel.errors import VshareError
from vshare.machine import parse_ip
from vshare.ssh_link import SshLink
from vshare.web import apache, nginx
from vshare.web.virtual_host import VirtualHost, parse_address, parse_port

READ_WITHIN = 10.0  # seconds: a log-in on an emulated machine, and a few programs
MAX_NAME = 253  # characters (RFC 1035 2.3.4)
MAX_PUBLISHED = 64  # ports of one container
_SECTION = re.compile(r"== (nginx|apache|container(?: .*)?)")
_HOST = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]{0,61}"
                   r"[a-z0-9_])?)*")  # fmt: skip
_NOT_NAMES = frozenset({"", "_", "localhost", "localhost.localdomain", "default", "default_server"})
# "0.0.0.0:8080->80/tcp" as docker prints it, with ranges of ports.
_PUBLISHED = re.compile(r"(?:(\S+):)?(\d{1,5})(?:-(\d{1,5}))?->(\d{1,5})(?:-\d{1,5})?/tcp")


@dataclass(frozen=True, slots=True)
class Vhosts:
    """Hosts in order; `left_out`: names that are no hosts. `unknown`: why nothing is known."""

    hosts: tuple[VirtualHost, ...] = ()
    left_out: tuple[str, ...] = ()
    unknown: str = ""


async def find_vhosts(link: SshLink | None, *, as_root: bool) -> Vhosts:
    """Ask the machine, within READ_WITHIN. Does not raise: what cannot be known is no error.

    `as_root` tries `sudo -n`, as for listening.find_listeners.
    """
    if link is None:
        return Vhosts(unknown="virtual hosts are asked over SSH, and there is none")
    texts = ["", ""]
    errors: list[str] = []

    async def ask(at: int, where: str) -> None:
        try:
            async with asyncio.timeout(READ_WITHIN):
                output = await link.run("sh -s", stdin=_script(where, as_root=as_root))
        except VshareError as error:
            errors.append(error.text)
        except TimeoutError:
            errors.append(f"the machine did not say them in {READ_WITHIN:.0f} s")
        else:
            texts[at] = output.decode("utf-8", "replace")

    async with asyncio.TaskGroup() as group:
        for at, where in enumerate(("here", "containers")):
            group.create_task(ask(at, where), name=f"virtual hosts: {where}")
    found = parse_vhosts("\n".join(texts))
    return found if found.hosts else replace(found, unknown=errors[0] if errors else "")


def _script(where: str, *, as_root: bool) -> bytes:
    script = resources.files("vshare.helpers").joinpath("web_servers.sh").read_text()
    sudo = "'sudo -n'" if as_root else ""
    return f"sudo={sudo}\nwhere={where}\n{script}".encode()


def parse_vhosts(text: str) -> Vhosts:
    """What helpers/web_servers.sh printed."""
    hosts: dict[tuple[str, int, str], VirtualHost] = {}
    left_out: dict[str, None] = {}
    for found in _found(text):
        name = found.name.lower().rstrip(".")
        if "*" in name or "$" in name or name.startswith("~"):
            left_out[found.name] = None
            continue
        name = name.removeprefix(".")  # itself, and all below it
        if len(name) <= MAX_NAME and _HOST.fullmatch(name) and _is_name(name):
            place = (name, found.port, found.address)
            hosts.setdefault(place, replace(found, name=name))
    ordered = sorted(hosts.values(), key=lambda each: (each.port, not each.default))
    return Vhosts(tuple(ordered), tuple(left_out))


def _is_name(name: str) -> bool:
    return name not in _NOT_NAMES and parse_ip(name) is None and not name.isdigit()


def _found(text: str) -> Iterator[VirtualHost]:
    for head, body in _sections(text):
        kind, _, ports = head.partition(" ")
        if kind == "container":
            kind = "apache" if apache.LISTED in body else "nginx"
            published = _published(ports)
            for each in _read(kind, body):
                yield from _outside(each, published)
        else:
            yield from _read(kind, body)


def _sections(text: str) -> Iterator[tuple[str, str]]:
    head, lines = "", list[str]()
    for line in text.split("\n"):
        if match := _SECTION.fullmatch(line):
            if head:
                yield head, "\n".join(lines)
            head, lines = match[1], []
        else:
            lines.append(line)
    if head:
        yield head, "\n".join(lines)


def _read(kind: str, text: str) -> Iterator[VirtualHost]:
    return nginx.virtual_hosts(text) if kind == "nginx" else apache.virtual_hosts(text)


def _published(text: str) -> list[tuple[int, int, str]]:
    """The ports of a container: its own, the machine's, and the machine's address."""
    ports: list[tuple[int, int, str]] = []
    for part in text.split(",")[:MAX_PUBLISHED]:
        match = _PUBLISHED.fullmatch(part.strip())
        if match is None:
            continue
        first, last, inside = (parse_port(each or match[2]) for each in match.group(2, 3, 4))
        if first is None or last is None or inside is None:
            continue
        for at in range(min(last - first + 1, MAX_PUBLISHED)):
            ports.append((inside + at, first + at, parse_address(match[1] or "")))
    return ports[:MAX_PUBLISHED]


def _outside(host: VirtualHost, published: Iterable[tuple[int, int, str]]) -> Iterator[VirtualHost]:
    """A container's virtual host, where the machine has it; not what only the container sees."""
    address = parse_ip(host.address)
    if address is not None and address.is_loopback:
        return
    for inside, port, where in published:
        if inside == host.port:
            yield replace(host, port=port, address=where)
