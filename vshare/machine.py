"""The machine that is shared: what `vshare up` found out about it before it shares anything."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

SSH_PORT = 22
LOOPBACK = "127.0.0.1"  # the machine's own, wherever it stands


class Source(StrEnum):
    """How the machine was named: by the directory, by a domain's name, by an address."""

    VAGRANT = "vagrant"
    LIBVIRT = "libvirt"
    TARGET = "target"


@dataclass(frozen=True, slots=True)
class SshAccess:
    """How to log in to the machine.

    `key_files` are tried before the keys of the user's SSH agent. `known_hosts` is the file
    the machine's host key must be in; None accepts any key, which is Vagrant's own policy
    (StrictHostKeyChecking no: every `vagrant up` makes a new host key). `proxy_command` is
    ssh_config(5)'s ProxyCommand, of libvirt hosts that are themselves far away.
    """

    host: str
    port: int = SSH_PORT
    user: str | None = None
    key_files: tuple[Path, ...] = ()
    password: str | None = field(default=None, repr=False)
    known_hosts: Path | None = None
    proxy_command: str | None = None

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.user}@{host}:{self.port}" if self.user else f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class ForwardedPort:
    """A port of the machine (`guest`) that its provider forwards to this host's `host` port."""

    guest: int
    host: int


@dataclass(frozen=True, slots=True)
class Machine:
    """One machine. `address` is where its every port can be dialled; None: only through SSH.

    `state` is the provider's word for it ("running"). `directory` is where its Vagrantfile
    is, `domain` its libvirt UUID or name, each None where there is none.
    """

    name: str
    provider: str
    state: str
    address: str | None
    source: Source
    ssh: SshAccess | None = None
    forwarded: tuple[ForwardedPort, ...] = ()
    directory: Path | None = None
    domain: str | None = None


def known_hosts_file() -> Path:
    """Where this user's SSH client remembers host keys (ssh_config(5), UserKnownHostsFile)."""
    return Path.home() / ".ssh" / "known_hosts"


def parse_ip(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """`text` as an address, an IPv4-mapped one as IPv4; None when it is a name."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        return address.ipv4_mapped
    return address


def is_loopback(host: str) -> bool:
    """Whether `host` names whoever dials it: 127/8, ::1, `localhost`, the unspecified address.

    Linux connects 0.0.0.0 and :: to the loopback, so they count.
    """
    name = host.rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    address = parse_ip(name)
    return address is not None and (address.is_loopback or address.is_unspecified)
