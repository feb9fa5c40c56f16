from __future__ import annotations

import ipaddress
import shutil
import socket
import subprocess
import sys

import pytest

from tunnel import lan
from tunnel.lan import direct_socket, is_near, lan_interfaces, parse_addresses, serialize_place


@pytest.mark.parametrize(
    ("text", "networks", "near"),
    [
        ("192.168.1.5", ["192.168.1.7/24"], True),
        ("192.168.1.7", ["192.168.1.7/24"], True),  # this very host
        ("192.168.2.5", ["192.168.1.7/24"], False),
        ("192.168.2.5", ["192.168.1.7/24", "192.168.2.1/30", "192.168.2.9/29"], False),
        ("192.168.2.5", ["192.168.1.7/24", "192.168.2.9/28"], True),
        ("fd00::5", ["fd00::7/64"], True),
        ("fd00:0:0:1::5", ["fd00::7/64", "192.168.1.7/24"], False),
        ("8.8.8.8", ["192.168.1.7/24"], False),
        ("10.0.0.1", [], False),
    ],
)
def test_who_is_near(text: str, networks: list[str], near: bool) -> None:
    interfaces = [ipaddress.ip_interface(network) for network in networks]
    assert is_near((ipaddress.ip_address(text), 40123), interfaces) is near


def test_places_are_written_as_in_urls() -> None:
    assert serialize_place((ipaddress.ip_address("10.0.0.1"), 5)) == "10.0.0.1:5"
    assert serialize_place((ipaddress.ip_address("fd00::1"), 5)) == "[fd00::1]:5"


def test_the_packets_of_a_direct_socket_stay_on_the_link() -> None:
    with direct_socket(4) as sock:
        assert sock.getsockopt(socket.IPPROTO_IP, socket.IP_TTL) == 1
    with direct_socket(6) as sock:
        assert sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS) == 1


def test_an_answer_of_the_kernels() -> None:
    """Two addresses as Linux 6.12 told them, and the end."""
    entry4 = "0218 80 00 03000000" + "08000100 0a090001" + "08000200 0a090001"
    entry6 = "0a40 80 00 03000000" + "14000100 fd09" + "00" * 13 + "01"
    tentative = "0a40 40 fd 03000000" + "14000100 fd09" + "00" * 13 + "02"
    peer = "0220 80 00 04000000" + "08000100 0a080005" + "08000200 0a080006"
    messages = b""
    for body in map(bytes.fromhex, (entry4, entry6, tentative, peer)):
        messages += lan._HEADER.pack(lan._HEADER.size + len(body), 20, 2, 1, 0) + body
    found: list[tuple[int, lan.Interface]] = []
    assert not parse_addresses(messages, found)
    assert [(index, str(interface)) for index, interface in found] == [
        (3, "10.9.0.1/24"),
        (3, "fd09::1/64"),
        (4, "10.8.0.6/32"),
    ]
    assert parse_addresses(lan._HEADER.pack(20, 3, 2, 1, 0) + bytes(4), found)
    with pytest.raises(OSError, match="does not tell"):
        parse_addresses(lan._HEADER.pack(20, 2, 0, 1, 0) + bytes(4), found)


def test_a_kernel_that_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise OSError("no netlink here")

    monkeypatch.setattr(lan, "_dump", refuse)
    assert lan_interfaces() == []


# In a network namespace of its own. Prints nothing unless something is wrong.
_SCRIPT = r"""
import subprocess, sys
from tunnel.lan import lan_interfaces

def ip(*commands):
    for command in commands:
        subprocess.run(["ip", *command.split()], check=True)

def expect(*wanted):
    found = sorted(map(str, lan_interfaces()))
    if found != sorted(wanted):
        sys.exit(f"expected {wanted}, got {found}")

expect()
ip("link set lo up", "address add 10.0.0.1/8 dev lo")
ip("address del 10.0.0.1/8 dev lo")
ip("link add eth0 type veth peer name far", "link set eth0 up")
ip("address add 192.168.7.5/24 dev eth0", "address add fd09::5/64 dev eth0 nodad")
ip("address add 203.0.113.5/24 dev eth0", "address add 2001:db8::5/64 dev eth0 nodad")
ip("address add 169.254.7.5/16 dev eth0", "address add 100.64.0.5/10 dev eth0")
expect("192.168.7.5/24", "fd09::5/64")  # nothing public, nothing of the link alone
for name in "virbr0", "docker0", "br-0123456789ab", "vboxnet0", "vmnet8":
    ip(f"link add {name} type veth peer name far2", f"link set {name} up")
    ip(f"address add 10.7.0.1/24 dev {name}")
    expect("192.168.7.5/24", "fd09::5/64")
    ip(f"link del {name}")
ip("link add lab type bridge", "link set lab up", "address add 10.7.0.1/24 dev lab")
expect("192.168.7.5/24", "fd09::5/64")  # a bridge of VMs, of which none runs
ip("tuntap add tap9 mode tap", "link set tap9 master lab")
expect("192.168.7.5/24", "fd09::5/64")
ip("link add wire type veth peer name far3", "link set wire master lab")
expect("192.168.7.5/24", "fd09::5/64", "10.7.0.1/24")  # the LAN, on which a VM is as well
for number in range(20):
    ip(f"address add 10.6.{number}.1/24 dev eth0")
if len(lan_interfaces()) != 8:
    sys.exit("there is no limit")
"""


def test_in_a_network_of_its_own() -> None:
    alone = ["unshare", "--user", "--map-root-user", "--net", "--mount"]
    if subprocess.run(
        [*alone, "mount", "-t", "sysfs", "none", "/sys"], check=False
    ).returncode or not shutil.which("ip"):
        pytest.skip("this user may not make network namespaces")
    mounted = 'mount -t sysfs none /sys && exec "$0" -c "$1"'
    command = [*alone, "sh", "-c", mounted, sys.executable, _SCRIPT]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, "")
