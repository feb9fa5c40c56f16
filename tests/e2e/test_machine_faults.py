"""The shared machine is rebooted, and comes back at another address: a libvirt domain on alice."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.demo import world
from tests.demo.world import Connection, Share
from tests.lab import Host, Lab
from tests.soak.judge import RECOVERS

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parent.parent.parent
IMAGES = ROOT / "box/images/demo"
PUBLIC_PORT = 8080  # in the URL only
ECHO = 7  # the demo machine's
DOMAIN, NETWORK, MAC = "web", "machines", "52:54:00:aa:bb:01"
STEM = "192.168.157"
OTHER = f"{STEM}.77"
COMMAND_LINE = "console=ttyS0 quiet panic=1 mitigations=off rdinit=/init random.trust_cpu=on"
NETWORK_XML = f"""
<network>
  <name>{NETWORK}</name>
  <bridge name='virbr7'/>
  <ip address='{STEM}.1' netmask='255.255.255.0'>
    <dhcp><range start='{STEM}.10' end='{STEM}.60'/></dhcp>
  </ip>
</network>
"""
DOMAIN_XML = f"""
<domain type='qemu'>
  <name>{DOMAIN}</name>
  <memory unit='MiB'>256</memory>
  <vcpu>1</vcpu>
  <os>
    <type arch='x86_64' machine='q35'>hvm</type>
    <kernel>{IMAGES}/vmlinuz</kernel>
    <initrd>{IMAGES}/initramfs.cpio.zst</initrd>
    <cmdline>{COMMAND_LINE}</cmdline>
  </os>
  <features><acpi/></features>
  <devices>
    <interface type='network'>
      <mac address='{MAC}'/><source network='{NETWORK}'/><model type='virtio'/>
    </interface>
    <serial type='pty'/>
  </devices>
</domain>
"""
BOOTS_WITHIN = 90.0  # seconds, under emulation on two busy cores
TALKS_AGAIN = 20.0  # seconds within which a stream to what is gone has to end
POLL = 0.1  # seconds


class Machine:
    """The domain, as alice's libvirt has it."""

    def __init__(self, alice: Host) -> None:
        self.alice = alice
        self.address = ""

    def virsh(self, *words: str) -> str:
        return self.alice.run(["virsh", "-q", *words], timeout=BOOTS_WITHIN).stdout

    def start(self) -> None:
        for kind, name, xml in (("net", NETWORK, NETWORK_XML), ("", DOMAIN, DOMAIN_XML)):
            path = self.alice.tmp / f"{name}.xml"
            path.write_text(xml)
            self.virsh("net-create" if kind else "create", str(path))

    def wait(self, address: str = "") -> float:
        """Until its echo answers alice, at `address` or where the DHCP server says; when it did."""
        deadline = time.monotonic() + BOOTS_WITHIN
        while time.monotonic() < deadline:
            where = address or self.leased()
            if where and echoes(self.alice, where):
                self.address = where
                return time.monotonic()
            time.sleep(POLL)
        pytest.fail(f"the machine did not boot in {BOOTS_WITHIN:.0f} s")

    def leased(self) -> str:
        words = self.virsh("net-dhcp-leases", NETWORK).split()
        return next((word.partition("/")[0] for word in words if word.startswith(STEM)), "")


def echoes(host: Host, address: str) -> bool:
    command = f"echo x | timeout 0.5 nc -q0 {address} {ECHO} | grep -q x"
    return host.run(["bash", "-c", command], check=False).returncode == 0


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(("relay", "alice", "bob")) as lab:
        yield lab


@pytest.fixture(scope="module")
def machine(lab: Lab) -> Machine:
    lab.alice.start_libvirtd()
    machine = Machine(lab.alice)
    machine.start()
    machine.wait()
    return machine


@pytest.fixture(scope="module")
def shared(lab: Lab, machine: Machine) -> Iterator[Share]:
    options = ("--domain", DOMAIN, "--disable-http")
    with (
        world.relay(lab, PUBLIC_PORT) as relay,
        world.share(lab.alice, relay, lab.alice.home, *options) as share,
    ):
        yield share


@pytest.fixture(scope="module")
def link(lab: Lab, shared: Share) -> Iterator[Connection]:
    with world.connect(lab.bob, shared, "--disable-static-ip") as link:
        yield link


@contextmanager
def polling(host: Host, *words: str) -> Iterator[Path]:
    """tests.soak.poll runs inside the block; yields the file of its successes."""
    path = host.folder / "log" / f"poll-{time.monotonic_ns()}.txt"
    with (
        path.open("w") as out,
        host.running(["python", "-m", "tests.soak.poll", *words], stdout=out),
    ):
        yield path


def after(path: Path, moment: float, within: float) -> float:
    """When the first success after `moment` was."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        for line in path.read_text().splitlines():
            if float(line) > moment:
                return float(line)
        time.sleep(POLL)
    pytest.fail(f"no success in {within:.0f} s")


@contextmanager
def open_stream(link: Connection, name: str) -> Iterator[subprocess.Popen[str]]:
    """A session that says a line each second and prints how it ended: `error` or `end`."""
    talk = (
        "import socket, socks, sys, time\n"
        "s = socks.socksocket()\n"
        "s.set_proxy(socks.SOCKS5, sys.argv[1].rsplit(':', 1)[0],"
        " int(sys.argv[1].rsplit(':', 1)[1]), rdns=True)\n"
        "s.connect((sys.argv[2], 7))\n"
        "s.sendall(b'x'); s.recv(1)\n"
        "print('open', flush=True)\n"
        "try:\n"
        "    while True:\n"
        "        time.sleep(1)\n"
        "        s.sendall(b'x')\n"
        "        if not s.recv(1): print('end', flush=True); break\n"
        "except OSError as error: print('error', error, flush=True)\n"
    )
    command = ["python", "-c", talk, link.socks, name]
    with link.host.running(command, stderr=None) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        yield process


def ended(process: subprocess.Popen[str]) -> str:
    process.wait(TALKS_AGAIN)
    assert process.stdout is not None
    return process.stdout.read()


def test_rebooted(machine: Machine, shared: Share, link: Connection) -> None:
    """Its streams are over, with an error; new ones work as soon as it is back."""
    with (
        polling(link.host, shared.name, str(ECHO), link.socks) as polled,
        open_stream(link, shared.name) as stream,
    ):
        machine.virsh("reset", DOMAIN)
        gone = time.monotonic()
        while echoes(machine.alice, machine.address):
            assert time.monotonic() - gone < 10.0, "it was not reset"
        back = machine.wait(machine.address)
        assert after(polled, back, 30.0) - back < RECOVERS
        assert ended(stream).startswith("error")


def test_another_address(machine: Machine, shared: Share, link: Connection) -> None:
    """vshare finds it by itself, and says so."""
    lease = f"<host mac='{MAC}' ip='{OTHER}'/>"
    old = machine.address
    assert old != OTHER
    with (
        polling(link.host, shared.name, str(ECHO), link.socks) as polled,
        open_stream(link, shared.name) as stream,
    ):
        machine.virsh("net-update", NETWORK, "add", "ip-dhcp-host", lease, "--live")
        machine.virsh("reset", DOMAIN)
        back = machine.wait(OTHER)
        assert after(polled, back, 30.0) - back < RECOVERS
        assert ended(stream).startswith("error")
    told = shared.program.wait_for("notice", 5.0)
    assert told["text"] == f"The machine's address is now {OTHER}"
    with polling(link.host, OTHER, str(ECHO), link.socks) as polled:  # guests may call it by that
        after(polled, time.monotonic(), 5.0)


def test_two_reboots_in_a_row(machine: Machine, shared: Share, link: Connection) -> None:
    """And back to the address that it had first."""
    lease = f"<host mac='{MAC}' ip='{OTHER}'/>"
    first = f"<host mac='{MAC}' ip='{STEM}.78'/>"
    machine.virsh("net-update", NETWORK, "delete", "ip-dhcp-host", lease, "--live")
    machine.virsh("net-update", NETWORK, "add", "ip-dhcp-host", first, "--live")
    with polling(link.host, shared.name, str(ECHO), link.socks) as polled:
        machine.virsh("reset", DOMAIN)
        time.sleep(2.0)
        machine.virsh("reset", DOMAIN)
        back = machine.wait(f"{STEM}.78")
        assert after(polled, back, 30.0) - back < RECOVERS
