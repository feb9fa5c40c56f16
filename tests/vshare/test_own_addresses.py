from __future__ import annotations

import ipaddress
import shutil
import subprocess
import sys

import pytest

from tunnel.errors import VshareError
from tunnel.lan_address import lan_address
from vshare.own_addresses import is_own


@pytest.mark.parametrize(
    ("text", "own"),
    [
        ("127.0.0.1", True),
        ("127.255.1.2", True),
        ("0.0.0.0", True),
        ("::", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("64:ff9b::127.0.0.1", True),
        ("2002:7f00:1::1", True),
        ("192.0.2.254", False),
        ("8.8.8.8", False),
        ("224.0.0.1", False),
    ],
)
def test_without_a_network(text: str, own: bool) -> None:
    assert is_own(ipaddress.ip_address(text)) is own


def test_the_address_that_others_reach_this_host_by() -> None:
    try:
        address = lan_address("a test")
    except VshareError:
        pytest.skip("this host is on no network")
    assert is_own(ipaddress.ip_address(address))
    assert is_own(ipaddress.ip_address(f"::ffff:{address}"))


# In a network namespace of its own. Prints nothing unless something is wrong.
_SCRIPT = r"""
import ipaddress, socket, subprocess, sys, time
from pathlib import Path
from vshare.own_addresses import is_own

def ip(command):
    subprocess.run(["ip", *command.split()], check=True)

def add_ipv6(text, device):  # the kernel's route to it follows from a work queue
    ip(f"address add {text}/64 dev {device} nodad")
    show = ["ip", "-6", "route", "show", "table", "local", text, "dev", device]
    deadline = time.monotonic() + 10
    while not subprocess.run(show, check=True, capture_output=True).stdout:
        if time.monotonic() > deadline:
            sys.exit(f"{text} never became an address that the kernel delivers to")
        time.sleep(0.001)

def own(text):
    return is_own(ipaddress.ip_address(text))

def expect(**texts):
    for wanted, words in texts.items():
        for text in words.split():
            if own(text) is not (wanted == "own"):
                sys.exit(f"{text} is taken for {'not ' if wanted == 'own' else ''}own")

expect(own="127.0.0.1 ::1 0.0.0.0", others="10.9.0.1 fd09::1")  # lo is down, no route
ip("link set lo up")
ip("link add veth-a type veth peer name veth-b")
ip("link set veth-a up")
ip("link set veth-b up")
expect(others="10.9.0.1 fd09::1")
ip("address add 10.9.0.1/24 dev veth-a")
add_ipv6("fd09::1", "veth-a")
add_ipv6("fe80::9", "veth-a")
expect(own="10.9.0.1 ::ffff:10.9.0.1 fd09::1 fe80::9 fe80::9%veth-a")
expect(others="10.9.0.2 fd09::2 fe80::8")
index = socket.if_nametoindex("veth-b")
expect(own=f"fe80::9%{socket.if_nametoindex('veth-a')}", others=f"fe80::9%veth-b fe80::9%{index}")
Path("/proc/sys/net/ipv4/ip_nonlocal_bind").write_text("1")
Path("/proc/sys/net/ipv6/ip_nonlocal_bind").write_text("1")
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    sock.bind(("10.9.0.2", 0))  # any address can be bound now
expect(own="10.9.0.1 fd09::1", others="10.9.0.2 fd09::2")
ip("route add local 10.8.0.0/16 dev lo src 127.0.0.1")  # delivered here, though it is no address
ip("route add prohibit 10.7.0.0/16")
expect(own="10.8.1.1", others="10.7.0.1")
ip("route add blackhole 10.6.0.0/16")
try:
    own("10.6.0.1")
except OSError:
    pass
else:
    sys.exit("what the kernel does not tell was told")
expect(others="fd09::")
Path("/proc/sys/net/ipv6/conf/all/forwarding").write_text("1")
expect(own="fd09::")  # a router answers for its networks' anycast addresses
ip("address del 10.9.0.1/24 dev veth-a")
expect(others="10.9.0.1", own="fd09::1")
"""


def test_in_a_network_of_its_own() -> None:
    """The kernel's answer at this moment, whatever can be bound."""
    alone = ["unshare", "--user", "--map-root-user", "--net", "--mount"]
    if subprocess.run(
        [*alone, "mount", "-t", "sysfs", "none", "/sys"], check=False
    ).returncode or not shutil.which("ip"):
        pytest.skip("this user may not make network namespaces")
    command = [*alone, sys.executable, "-c", _SCRIPT]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, "")
