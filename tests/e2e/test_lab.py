from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.demo import traces
from tests.lab import Lab, state
from tests.lab.forward import forwarder
from tunnel.errors import VshareError

pytestmark = pytest.mark.e2e
LAB = [sys.executable, "-m", "tests.lab"]
ROOT = Path(__file__).parent.parent.parent
ECHO = """
import socket
server = socket.create_server(("0.0.0.0", 8000))
print("ready", flush=True)
client, address = server.accept()
data = b""
while piece := client.recv(65536):
    data += piece
client.sendall(b"%s %d" % (address[0].encode(), len(data)))
"""


@pytest.mark.parametrize("host", ["alice", "services", "bob", "carol"])
def test_every_host_reaches_the_relay_by_name(lab: Lab, host: str) -> None:
    lab.hosts[host].run(["ping", "-c1", "-W2", "relay.test"])


def test_what_leaves_a_lan_carries_its_routers_address(lab: Lab) -> None:
    with lab.relay.running(["python", "-c", ECHO]) as server:
        assert server.stdout is not None
        server.stdout.readline()
        client = "import socket; c = socket.create_connection(('relay.test', 8000)); "
        client += "c.sendall(b'12345'); c.shutdown(1); print(c.recv(99).decode())"
        assert lab.bob.run(["python", "-c", client]).stdout == "203.0.113.22 5\n"


def test_nobody_gets_in_from_outside(lab: Lab) -> None:
    with lab.bob.running(["python", "-c", ECHO]) as server:
        assert server.stdout is not None
        server.stdout.readline()
        client = "import socket; socket.create_connection(('{}', 8000), timeout=1)"
        for address in ("203.0.113.22", "10.22.0.2"):
            done = lab.relay.run(["python", "-c", client.format(address)], check=False)
            assert done.returncode == 1, address


def test_the_lab_has_no_way_to_the_machine_or_beyond(lab: Lab) -> None:
    for address in ("192.0.2.1", "172.16.0.2", "192.168.1.1"):
        done = lab.bob.run(["ping", "-c1", "-W1", address], check=False)
        assert done.returncode != 0, address
    assert "kvm" not in lab.bob.run(["ls", "/dev"]).stdout


def test_signals_and_exit_codes_pass(lab: Lab) -> None:
    assert lab.bob.run(["sh", "-c", "exit 7"], check=False).returncode == 7
    script = "trap 'echo caught; exit 3' INT; echo ready; while :; do sleep 0.05; done"
    with lab.bob.running(["sh", "-c", script]) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "caught\n"
        assert process.wait(5) == 3


def test_a_failing_command_is_told_with_its_words(lab: Lab) -> None:
    with pytest.raises(VshareError, match="failed with 3: oh dear"):
        lab.bob.run(["sh", "-c", "echo oh dear >&2; exit 3"])
    with pytest.raises(VshareError, match=r"did not end in 0\.2 s"):
        lab.bob.run(["sleep", "10"], timeout=0.2)


def test_ssh_and_the_machines_own_files_stay_apart(lab: Lab) -> None:
    home = lab.alice.run(["sh", "-c", "echo ~root; getent passwd root | cut -d: -f6"]).stdout
    assert home.split() == [str(lab.alice.home)] * 2


def test_forwarder_passes_both_ends_of_stream(lab: Lab) -> None:
    with (
        lab.relay.running(["python", "-c", ECHO]) as server,
        forwarder(lab.hosts["internet"].pid, (lab.relay.ip, 8000)) as port,
    ):
        assert server.stdout is not None
        server.stdout.readline()
        with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
            client.sendall(bytes(1_000_000))
            client.shutdown(socket.SHUT_WR)
            assert client.recv(99) == b"203.0.113.1 1000000"
            assert client.recv(1) == b""


def test_forwarder_resets_what_is_refused_and_what_it_has_to_leave(lab: Lab) -> None:
    with forwarder(lab.hosts["internet"].pid, (lab.relay.ip, 8001)) as port:
        with (
            pytest.raises(ConnectionResetError),  # which may come before connect(2) has ended
            socket.create_connection(("127.0.0.1", port), timeout=5) as client,
        ):
            client.recv(1)
        assert threading.active_count() >= 2
    assert not any(thread.name == "forwarder" for thread in threading.enumerate())


def test_exec_passes_input_output_and_exit_code() -> None:
    with Lab(("bob",)) as own:
        assert own.state is not None
        command = [*LAB, "exec", "--lab", own.state.id, "bob", "--", "sh", "-c"]
        done = subprocess.run(
            [*command, "hostname; cat; exit 5"],
            input="hello\n",
            capture_output=True,
            text=True,
            timeout=20,
            cwd=ROOT,
        )
        assert (done.returncode, done.stdout) == (5, "bob\nhello\n")


def test_a_killed_lab_leaves_no_process_and_is_cleaned_up() -> None:
    command = [*LAB, "up", "--hosts", "relay", "--no-vm"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        while "all is up" not in process.stdout.readline():
            pass
        found = next(lab for lab in state.labs() if lab.owner.pid == process.pid)
        process.kill()
    deadline = time.monotonic() + 5
    while any(host.holder.alive() for host in found.hosts.values()):
        assert time.monotonic() < deadline
        os.sched_yield()
    assert found.folder.exists()
    assert found.id in state.clean()
    assert not found.folder.exists()


def test_the_end_takes_everything_along() -> None:
    with Lab(("bob",)) as own:
        assert own.state is not None
        found = own.state
        own.bob.popen(["sh", "-c", "trap '' TERM; sleep 1000 & exec setsid sleep 1001"])
        own.bob.run(["sh", "-c", "setsid sleep 1002 >/dev/null 2>&1 &"])
    assert not found.folder.exists()
    assert not any(host.holder.alive() for host in found.hosts.values())


def test_libvirt_runs_a_domain_and_leaves_nothing(lab: Lab) -> None:
    lab.bob.start_libvirtd()
    domain = lab.bob.tmp / "domain.xml"
    domain.write_text(
        "<domain type='qemu'><name>probe</name><memory unit='MiB'>32</memory>"
        "<os><type arch='x86_64' machine='q35'>hvm</type></os></domain>"
    )
    lab.bob.run(["virsh", "create", str(domain)])
    assert "probe" in lab.bob.run(["virsh", "list", "--name"]).stdout.split()
    lab.bob.run(["virsh", "destroy", "probe"])
    assert not lab.bob.run(["virsh", "list", "--all", "--name"]).stdout.split()
    domain.unlink()


def test_traces_see_what_is_left_behind(lab: Lab) -> None:
    host = lab.carol
    host.start_libvirtd()
    before = traces.look(host)
    assert traces.look(host).left_since(before) == []
    network = host.tmp / "network.xml"
    network.write_text("<network><name>left</name><bridge name='left0'/></network>")
    host.run(["virsh", "net-create", str(network)])
    with host.running(["sleep", "1003"]):
        found = traces.look(host).left_since(before)
    assert {line.partition(":")[0] for line in found} == {
        "networks",
        "interfaces",
        "processes",
        "files",
    }
    host.run(["virsh", "net-destroy", "left"])
    network.unlink()
    assert traces.look(host).left_since(before) == []
