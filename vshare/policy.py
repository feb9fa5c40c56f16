"""Who may open what: asked for every stream and every flow. Pure.

The default is the whole shared machine except SSH, and nothing but the shared machine. A
refusal carries the sentence that the guest is shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from tunnel.codes import Code
from tunnel.errors import RefusedError
from tunnel.identity import Role
from vshare.machine import LOOPBACK, SSH_PORT, is_loopback
from vshare.neighbours import Network, is_host_name, parse_address, why_closed

MACHINE = ""
MAX_SHOWN = 60  # characters of a host that a refusal repeats


@dataclass(frozen=True, slots=True)
class Rights:
    """What one guest may open of what the share gives."""

    ports: frozenset[int] | None = None  # None: all that the share gives
    terminals: bool = False  # may look at shared terminals although `ports` are not all

    @property
    def sees_terminals(self) -> bool:
        """Whether shared terminals may be looked at."""
        return self.ports is None or self.terminals


EVERYTHING = Rights()


@dataclass(frozen=True, slots=True)
class Target:
    """Where an allowed stream goes.

    `host` is MACHINE, or LOOPBACK (the machine's own), or a neighbour: an address, or with
    `needs_lookup` a name, whose addresses are still to be checked (exposed.py). `is_ssh`: the
    guest may speak SSH there, so that SshGuard stays away.
    """

    host: str
    port: int
    needs_lookup: bool = False
    is_ssh: bool = False


@dataclass(frozen=True, slots=True)
class Policy:
    """What one share gives. Ports hold for TCP and UDP alike, but for SSH and what is fenced,
    which are TCP. They hold for neighbours too: one may be the machine under another address."""

    names: frozenset[str]  # what the machine is called, besides ""
    only_ports: frozenset[int] | None = None  # None: every port
    served_ports: frozenset[int] = frozenset()  # shared by name: open over TCP, besides only_ports
    loopback_ports: frozenset[int] = frozenset()  # on the machine's loopback, named by the sharer
    hidden_ports: frozenset[int] = frozenset()  # on the machine's loopback, not named
    ssh_ports: frozenset[int] = field(default=frozenset({SSH_PORT}))
    http_ports: frozenset[int] = frozenset()  # all that the gateway may open
    exposed: tuple[Network, ...] = ()  # where neighbours may be reached
    fenced: Mapping[int, str] = field(default_factory=dict)  # why a port is closed: "Redis ..."
    ssh_shared: bool = False  # SSH is open to guests that were handed its key

    def decide(
        self,
        role: Role,
        protocol: str,
        host: str,
        port: int,
        *,
        rights: Rights = EVERYTHING,
        has_ssh_key: bool = False,
    ) -> Target:
        """Where to go for `protocol` ("tcp" or "udp"). Raises RefusedError(not-allowed)."""
        if not 1 <= port <= 65_535:
            raise _refused(f"port {port} is not a port")
        target = self._find(role, host, port)
        neighbour = target.host != MACHINE
        if role is Role.GATEWAY and (protocol != "tcp" or port not in self.http_ports):
            raise _refused(f"port {port} is not open to the public URL")
        if role is not Role.GATEWAY and rights.ports is not None and port not in rights.ports:
            raise _refused(f"port {port} is not open to you; you have {self.describe(rights)}")
        is_ssh = protocol == "tcp" and (port in self.ssh_ports or (neighbour and port == SSH_PORT))
        if is_ssh:
            self._check_ssh(role, port, neighbour=neighbour, has_ssh_key=has_ssh_key)
        if protocol == "tcp" and port in self.fenced:
            raise _refused(
                f"port {port} is closed: {self.fenced[port]};"
                f" the sharer can open it with vshare unfence {port}"
            )
        if neighbour:
            self._check_port(port, rights, public=False)
            return target
        if port in self.loopback_ports:
            return Target(LOOPBACK, port, is_ssh=is_ssh)
        if port in self.hidden_ports:
            raise _refused(
                f"port {port} listens on the machine's loopback only;"
                f" the sharer can share it with --loopback {port}"
            )
        # What is public by the URL, guests may open too; without --ssh nobody came here for SSH.
        public = protocol == "tcp" and port in self.http_ports | self.served_ports
        self._check_port(port, rights, public=public or is_ssh)
        return Target(MACHINE, port, is_ssh=is_ssh)

    def is_machine(self, host: str) -> bool:
        """Whether `host`, as guests say it, is the shared machine."""
        return host == MACHINE or host.lower().rstrip(".") in self.names

    def decide_terminal(self, role: Role, rights: Rights = EVERYTHING) -> None:
        """Whether shared terminals may be looked at. Raises RefusedError(not-allowed)."""
        if role is not Role.GUEST:
            raise _refused("terminals are for guests")
        if not rights.sees_terminals:
            raise _refused(f"terminals are not open to you; you have {self.describe(rights)}")

    def _find(self, role: Role, host: str, port: int) -> Target:
        """The machine, or a neighbour as far as that can be told without a look-up."""
        if self.is_machine(host):
            return Target(MACHINE, port)
        if not self.exposed or role is Role.GATEWAY:
            raise _refused(f"only the shared machine itself can be reached, not {_shown(host)}")
        address = parse_address(host)
        if address is None:
            if is_loopback(host) or not is_host_name(host):
                raise _refused(f"{_shown(host)} is no neighbour's name or address")
            return Target(host, port, needs_lookup=True)
        if str(address) in self.names:
            return Target(MACHINE, port)
        closed = why_closed(address, self.exposed)
        if closed:
            raise _refused(f"{_shown(host)} {closed}; exposed are {_join(self.exposed)}")
        return Target(str(address), port)

    def _check_ssh(self, role: Role, port: int, *, neighbour: bool, has_ssh_key: bool) -> None:
        if not self.ssh_shared:
            raise _refused(f"SSH (port {port}) is not shared; the sharer can share it with --ssh")
        if neighbour or role is Role.GATEWAY:
            raise _refused(f"SSH (port {port}) is shared on the machine itself alone, with guests")
        if not has_ssh_key:
            raise _refused(f"SSH (port {port}) is open to those who come with vconnect --ssh")

    def _check_port(self, port: int, rights: Rights, *, public: bool) -> None:
        if self.only_ports is not None and port not in self.only_ports and not public:
            raise _refused(f"port {port} is not shared; shared are {self.describe(rights)}")

    def is_open(
        self,
        protocol: str,
        port: int,
        *,
        loopback_only: bool,
        rights: Rights = EVERYTHING,
        has_ssh_key: bool = False,
    ) -> bool:
        """Whether a guest reaches a listener of the machine's."""
        if loopback_only and port not in self.loopback_ports:
            return False
        try:
            self.decide(Role.GUEST, protocol, MACHINE, port, rights=rights, has_ssh_key=has_ssh_key)
        except RefusedError:
            return False
        return True

    def describe(self, rights: Rights = EVERYTHING) -> str:
        """A guest's rights in words, for people."""
        ports = self._ports(rights)
        if ports is None:
            closed = [] if self.ssh_shared else ["SSH"]
            closed += [f"{port} ({why})" for port, why in sorted(self.fenced.items())]
            text = "every port" + (f" except {_join(closed)}" if closed else "")
        else:
            some = "port" if len(ports) == 1 else "ports"
            text = f"{some} {', '.join(map(str, sorted(ports)))}" if ports else "no ports"
        if self.ssh_shared and (rights.ports is None or rights.ports & self.ssh_ports):
            text += " (SSH with vconnect --ssh)"
        return text + (f", and neighbours in {_join(self.exposed)}" if self.exposed else "")

    def _ports(self, rights: Rights) -> frozenset[int] | None:
        """What a guest may open over TCP, where all else is closed; None: everything may be."""
        if self.only_ports is None and rights.ports is None:
            return None
        if self.only_ports is None:
            listed = rights.ports or frozenset()
        else:
            listed = self.only_ports | self.loopback_ports | self.http_ports | self.served_ports
            listed |= self.ssh_ports if self.ssh_shared else frozenset()
            listed = listed if rights.ports is None else listed & rights.ports
        closed = frozenset() if self.ssh_shared else self.ssh_ports
        return listed - closed - self.fenced.keys()

    def rights(
        self, role: Role, rights: Rights = EVERYTHING, *, has_ssh_key: bool = False
    ) -> list[str]:
        """The rights as HELLO lists them."""
        if role is Role.GATEWAY:
            public = self.http_ports - self.ssh_ports - self.fenced.keys()
            return [f"tcp/{port}" for port in sorted(public)]
        networks = [f"net/{network}" for network in self.exposed]
        shut = set(self.fenced)
        if not (self.ssh_shared and has_ssh_key):
            shut |= self.ssh_ports
        if self.only_ports is None and rights.ports is None:
            return ["*", *(f"!tcp/{port}" for port in sorted(shut)), *networks]
        if self.only_ports is None:
            open_ports, tcp_ports = rights.ports or frozenset(), frozenset[int]()
        else:
            open_ports = self.only_ports | self.loopback_ports
            tcp_ports = self.http_ports | self.served_ports
            tcp_ports |= self.ssh_ports if self.ssh_shared else frozenset()
            if rights.ports is not None:
                open_ports, tcp_ports = open_ports & rights.ports, tcp_ports & rights.ports
        return [
            *(str(port) for port in sorted(open_ports)),
            *(f"tcp/{port}" for port in sorted(tcp_ports - open_ports - shut)),
            *(f"!tcp/{port}" for port in sorted(shut & open_ports)),
            *networks,
            *(["terminal"] if rights.terminals else []),
        ]


def _refused(text: str) -> RefusedError:
    return RefusedError(Code.NOT_ALLOWED, text)


def _shown(host: str) -> str:
    return repr(host[:MAX_SHOWN])


def _join(items: Iterable[object]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    *first, last = [str(each) for each in items]
    return f"{', '.join(first)} and {last}" if first else last
