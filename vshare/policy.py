"""Who may open what: asked for every stream and every flow. Pure.

The default is the whole shared machine except SSH, and nothing but the shared machine. A
refusal carries the sentence that the guest is shown.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tunnel.codes import Code
from tunnel.errors import RefusedError
from tunnel.identity import Role
from vshare.machine import LOOPBACK, SSH_PORT

MACHINE = ""


@dataclass(frozen=True, slots=True)
class Rights:
    """What one guest may open of what the share gives."""

    ports: frozenset[int] | None = None  # None: all that the share gives


EVERYTHING = Rights()


@dataclass(frozen=True, slots=True)
class Target:
    """Where an allowed stream goes: host MACHINE, or LOOPBACK (the machine's own)."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Policy:
    """What one share gives. Ports hold for TCP and UDP alike, but for SSH, which is TCP."""

    names: frozenset[str]  # what the machine is called, besides ""
    only_ports: frozenset[int] | None = None  # None: every port
    loopback_ports: frozenset[int] = frozenset()  # on the machine's loopback, named by the sharer
    hidden_ports: frozenset[int] = frozenset()  # on the machine's loopback, not named
    ssh_ports: frozenset[int] = field(default=frozenset({SSH_PORT}))
    http_ports: frozenset[int] = frozenset()  # all that the gateway may open

    def decide(self, role: Role, protocol: str, host: str, port: int) -> Target:
        """Where to go for `protocol` ("tcp" or "udp"). Raises RefusedError(not-allowed)."""
        if not 1 <= port <= 65_535:
            raise _refused(f"port {port} is not a port")
        if host.lower().rstrip(".") not in self.names and host != MACHINE:
            raise _refused(f"only the shared machine itself can be reached, not {host!r}")
        if role is Role.GATEWAY and (protocol != "tcp" or port not in self.http_ports):
            raise _refused(f"port {port} is not open to the public URL")
        if protocol == "tcp" and port in self.ssh_ports:
            raise _refused(f"SSH (port {port}) is not shared; the sharer can share it with --ssh")
        if port in self.loopback_ports:
            return Target(LOOPBACK, port)
        if port in self.hidden_ports:
            raise _refused(
                f"port {port} listens on the machine's loopback only;"
                f" the sharer can share it with --loopback {port}"
            )
        public = protocol == "tcp" and port in self.http_ports  # whatever guests may open
        if self.only_ports is not None and port not in self.only_ports and not public:
            raise _refused(f"port {port} is not shared; shared are {self.describe()}")
        return Target(MACHINE, port)

    def is_open(self, protocol: str, port: int, *, loopback_only: bool) -> bool:
        """Whether guests reach a listener of the machine's."""
        if loopback_only and port not in self.loopback_ports:
            return False
        try:
            self.decide(Role.GUEST, protocol, MACHINE, port)
        except RefusedError:
            return False
        return True

    def describe(self) -> str:
        """The rights in words, for people."""
        if self.only_ports is None:
            return "every port except SSH"
        ports = sorted(self.only_ports | self.loopback_ports | self.http_ports)
        return "ports " + ", ".join(map(str, ports)) if ports else "no ports"

    def rights(self, role: Role) -> list[str]:
        """The rights as HELLO lists them."""
        if role is Role.GATEWAY:
            return [f"tcp/{port}" for port in sorted(self.http_ports)]
        if self.only_ports is None:
            return ["*", *(f"!tcp/{port}" for port in sorted(self.ssh_ports))]
        open_ports = self.only_ports | self.loopback_ports
        return [
            *(str(port) for port in sorted(open_ports)),
            *(f"tcp/{port}" for port in sorted(self.http_ports - open_ports)),
            *(f"!tcp/{port}" for port in sorted(self.ssh_ports & open_ports)),
        ]


def _refused(text: str) -> RefusedError:
    return RefusedError(Code.NOT_ALLOWED, text)
