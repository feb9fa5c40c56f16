"""Who is in the lab and how it is cabled: the addresses, the links, the NAT rules. Pure.

    internet ──┬── relay, 203.0.113.10; relay2, relay3, redis where they are asked for
               ├── alice-nat ── 10.21.0.0/24: alice, services
               ├── bob-nat   ── 10.22.0.0/24: bob
               └── carol-nat ── 10.23.0.0/24: carol

The internet is 203.0.113.0/24 (RFC 5737). All of it exists inside the lab's namespaces alone,
and none of those has a way out to the machine.
"""

from __future__ import annotations

from dataclasses import dataclass

INTERNET = "internet"
INTERNET_IP = "203.0.113.1"
SWITCH = "switch0"  # the bridge of the internet, and of each LAN on its router
UPLINK = "uplink0"  # a router's interface to the internet
PORT = "eth0"  # a host's only interface


@dataclass(frozen=True, slots=True)
class Node:
    """One namespace. `address` is a host's own; `lan` is the router's inside address."""

    name: str
    address: str
    gateway: str
    attached_to: str
    lan: str = ""


def _site(number: int, name: str, *neighbours: str) -> list[Node]:
    lan = f"10.{number}.0"
    router = f"{name}-nat"
    nodes = [Node(router, f"203.0.113.{number}", INTERNET_IP, INTERNET, lan=f"{lan}.1")]
    for place, host in enumerate((name, *neighbours), start=2):
        nodes.append(Node(host, f"{lan}.{place}", f"{lan}.1", router))
    return nodes


NODES: dict[str, Node] = {
    node.name: node
    for node in [
        Node(INTERNET, INTERNET_IP, "", ""),
        Node("relay", "203.0.113.10", INTERNET_IP, INTERNET),
        Node("relay2", "203.0.113.11", INTERNET_IP, INTERNET),
        Node("relay3", "203.0.113.12", INTERNET_IP, INTERNET),
        Node("redis", "203.0.113.13", INTERNET_IP, INTERNET),
        *_site(21, "alice", "services"),
        *_site(22, "bob"),
        *_site(23, "carol"),
    ]
}
HOSTS = ("relay", "alice", "services", "bob", "carol")
CLUSTER = ("relay", "relay2", "relay3", "redis")


def needed(hosts: tuple[str, ...]) -> list[Node]:
    """The nodes that `hosts` need, switches and routers first."""
    names = {INTERNET}
    for host in hosts:
        names |= {host, NODES[host].attached_to}
    return [node for node in NODES.values() if node.name in names]


def hosts_file(nodes: list[Node]) -> str:
    """/etc/hosts of every host: there is no DNS in the lab."""
    lines = ["127.0.0.1 localhost", "::1 localhost ip6-localhost"]
    lines += [f"{node.address} {node.name}.test {node.name}" for node in nodes]
    return "\n".join(lines) + "\n"


def link_commands(nodes: list[Node], pids: dict[str, int]) -> str:
    """`ip -batch` for the machine: every cable, both ends put straight into their namespaces."""
    lines = []
    for node in nodes:
        if node.attached_to:
            near = UPLINK if node.lan else PORT
            lines.append(
                f"link add {near} netns {pids[node.name]} type veth "
                f"peer name {node.name} netns {pids[node.attached_to]}"
            )
    return "\n".join(lines) + "\n"


def node_commands(node: Node, nodes: list[Node]) -> str:
    """`ip -batch` for inside one namespace."""
    lines = ["link set lo up"]
    attached = [other for other in nodes if other.attached_to == node.name]
    if attached or node.name == INTERNET:
        inside = node.lan or node.address
        lines += [f"link add {SWITCH} type bridge", f"address add {inside}/24 dev {SWITCH}"]
        for other in attached:
            lines += [f"link set {other.name} master {SWITCH}", f"link set {other.name} up"]
        lines.append(f"link set {SWITCH} up")
    if node.attached_to:
        near = UPLINK if node.lan else PORT
        lines += [
            f"address add {node.address}/24 dev {near}",
            f"link set {near} up",
            f"route add default via {node.gateway}",
        ]
    return "\n".join(lines) + "\n"


def nat_rules() -> str:
    """nftables of a home router: everything out under one address, nothing in but answers."""
    return f"""
table ip nat {{
    chain postrouting {{
        type nat hook postrouting priority srcnat; policy accept;
        oifname "{UPLINK}" masquerade
    }}
}}
table ip filter {{
    chain input {{
        type filter hook input priority filter; policy accept;
        iifname "{UPLINK}" ct state established,related accept
        iifname "{UPLINK}" drop
    }}
    chain forward {{
        type filter hook forward priority filter; policy accept;
        iifname "{UPLINK}" ct state established,related accept
        iifname "{UPLINK}" drop
    }}
}}
"""
