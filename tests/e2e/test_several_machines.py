"""Two machines by one `vshare up`, and one connect VM that has a static IP for each."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from connect_vm import vm
from connect_vm.images import ImageError, find_image
from tests.demo import world
from tests.lab import Host, Lab

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root"),
    pytest.mark.skipif(shutil.which("libvirtd") is None, reason="needs libvirtd"),
]

SECOND = "10.21.0.33"  # another machine on alice's network
PORT = 5005
WITHIN = 60.0  # seconds for what takes one on an idle machine
# Says by TCP and by UDP which address it listens at.
SERVICE = f"""
import socketserver, sys, threading
host = sys.argv[1]
class Tcp(socketserver.BaseRequestHandler):
    def handle(self): self.request.sendall(host.encode())
class Udp(socketserver.BaseRequestHandler):
    def handle(self): self.request[1].sendto(host.encode(), self.client_address)
socketserver.TCPServer.allow_reuse_address = True
tcp = socketserver.ThreadingTCPServer((host, {PORT}), Tcp)
udp = socketserver.UDPServer((host, {PORT}), Udp)
print("ready", flush=True)
threading.Thread(target=udp.serve_forever, daemon=True).start()
tcp.serve_forever()
"""
ASK = """
import socket, sys
kind = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}[sys.argv[1]]
with socket.socket(socket.AF_INET, kind) as sock:
    sock.settimeout(20)
    sock.connect((sys.argv[2], int(sys.argv[3])))
    sock.send(b"who?")
    print(sock.recv(100).decode())
"""


@pytest.fixture(scope="module")
def machines() -> Iterator[Lab]:
    """Alice's host, and beside it what stands for two machines of hers."""
    try:
        find_image()
    except ImageError as error:
        pytest.skip(error.text)
    with Lab(("relay", "alice", "services", "bob")) as lab, ExitStack() as stack:
        lab.bob.start_libvirtd()
        (lab.bob.folder / "libvirt/lib/dnsmasq").mkdir(parents=True, exist_ok=True)
        lab.services.run(["ip", "address", "add", f"{SECOND}/24", "dev", "eth0"])
        for address in (lab.services.ip, SECOND):
            command = ["python", "-c", SERVICE, address]
            process = stack.enter_context(lab.services.running(command, stderr=None))
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        yield lab


def who(host: Host, protocol: str, address: str) -> str:
    """Which machine answers."""
    command = ["python", "-c", ASK, protocol, address, str(PORT)]
    return host.run(command, timeout=WITHIN).stdout.strip()


@pytest.mark.parametrize("driver", vm.DRIVERS)
def test_each_has_its_address_and_its_name(machines: Lab, driver: str) -> None:
    lab, first = machines, machines.services.ip
    targets = ("--target", first, "--target", SECOND, "--disable-http", "--name", "shop")
    with (
        world.relay(lab, 8080) as relay,
        world.share(lab.alice, relay, lab.alice.home, *targets) as share,
        world.connect(lab.bob, share, "--driver", driver) as bob,
    ):
        assert share.name == f"shop-{first.replace('.', '-')}"
        ips = {each.get("machine", first): each["ip"] for each in bob.program.all("machine")}
        assert ips == {first: bob.ip, SECOND: bob.ip.removesuffix(".2") + ".3"}
        for protocol in ("tcp", "udp"):
            assert {each: who(lab.bob, protocol, ip) for each, ip in ips.items()} == {
                first: first,
                SECOND: SECOND,
            }
        with pytest.raises(Exception, match="refused"):  # as of a machine in the same network
            lab.bob.run(["python", "-c", ASK, "tcp", ips[SECOND], "9"], timeout=WITHIN)
        for name, said in ((f"shop-{SECOND.replace('.', '-')}", SECOND), (share.name, first)):
            curl = ["curl", "-sS", "--http0.9", "-m", "20", "--socks5-hostname", bob.socks]
            done = lab.bob.run([*curl, f"http://{name}:{PORT}/"], timeout=WITHIN, check=False)
            assert done.stdout.strip() == said, done.stderr
        lab.alice.run(["vshare", "stop", share.name], timeout=WITHIN)
        deadline = time.monotonic() + WITHIN
        while who_or_nobody(lab.bob, ips[first]):
            assert time.monotonic() < deadline
        assert who(lab.bob, "tcp", ips[SECOND]) == SECOND
        bob.program.interrupt()
        share.program.interrupt()
    assert lab.bob.run(["virsh", "-q", "list", "--all"]).stdout.strip() == ""


def who_or_nobody(host: Host, address: str) -> str:
    command = ["python", "-c", ASK, "tcp", address, str(PORT)]
    return host.run(command, timeout=WITHIN, check=False).stdout.strip()
