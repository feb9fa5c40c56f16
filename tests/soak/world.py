"""The soak's world: a relay, a share of the services beside alice, and bob, who uses it.

The shared machine hangs on alice by a cable of its own, as a virtual machine does: when her
network fails or changes, what is between her and it stays.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.demo import world as demo
from tests.demo.program import Program, started
from tests.lab import Host, Lab, services
from tunnel.errors import VshareError

CABLE = "machine0"  # between alice and the machine, on both sides
CABLE_NETWORK = "192.168.121"
PUBLIC_PORT = 8080  # in the URL only
READY_WITHIN = 20.0  # seconds
POLL = 0.02  # seconds
SHARED = ("--unfence", "5432", "--unfence", "6379")  # PostgreSQL, Redis
SSH = ("--ssh", "--ssh-no-password")
LOAD_ENDS_WITHIN = 170.0  # seconds: what a load waits for its last streams, and some more


@dataclass
class World:
    """All that runs. `relay_address` is as guests write it; programs by their names."""

    lab: Lab
    relay_address: str = ""
    relay_options: tuple[str, ...] = ()
    programs: dict[str, Program] = field(default_factory=dict)
    share: demo.Share | None = None
    ssh: demo.Share | None = None  # of the same machine, by SSH alone
    link: demo.Connection | None = None
    service: subprocess.Popen[str] | None = None
    _relay: ExitStack = field(default_factory=ExitStack)
    _service: ExitStack = field(default_factory=ExitStack)

    # -- what can be taken away and brought back

    def start_relay(self) -> None:
        """`vrelay serve`, with the names and keys that it had before."""
        host = self.lab.relay
        command = ["vrelay", "serve", "--json", "--listen", f"{host.ip}:{demo.RELAY_PORT}"]
        command += ["--open", "--domain", "localhost", "--public-port", str(PUBLIC_PORT)]
        program = self._relay.enter_context(started(host, [*command, *self.relay_options]))
        event = program.wait_for("serving", READY_WITHIN)
        self.relay_address = f"{host.ip}:{demo.RELAY_PORT}#{event['fingerprint'][:32]}"
        self.programs["vrelay"] = program

    def kill_relay(self) -> None:
        """kill -9."""
        os.kill(pid_of(self.programs["vrelay"].process), signal.SIGKILL)
        self.programs.pop("vrelay").process.wait(READY_WITHIN)
        self._relay.close()

    def start_service(self) -> None:
        """What the load talks to, on the shared machine."""
        command = ["python", "-m", "tests.soak.service"]
        process = self._service.enter_context(self.lab.services.running(command, stderr=None))
        assert process.stdout is not None
        if process.stdout.readline() != "ready\n":
            raise VshareError("the soak's service did not start")
        self.service = process

    def kill_service(self) -> None:
        """kill -9: its connections are reset."""
        assert self.service is not None
        os.kill(pid_of(self.service), signal.SIGKILL)
        self.service.wait(READY_WITHIN)
        self._service.close()

    def close(self) -> None:
        """End the relay and the service."""
        self._relay.close()
        self._service.close()

    def pids(self) -> dict[str, int]:
        """The programs that run, as the machine numbers them."""
        found = {}
        for name, each in list(self.programs.items()):
            with suppress(OSError, VshareError):  # it is being killed
                found[name] = pid_of(each.process)
        return found

    def ssh_command(self) -> list[str]:
        """`vconnect --ssh` on bob; the machine's command follows."""
        assert self.ssh is not None
        code = self.lab.bob.tmp / "ssh-code"
        code.write_text(self.ssh.code + "\n")
        return ["vconnect", "--ssh", "--code-file", str(code), self.ssh.connect, "--"]

    # -- the load

    def plan(self, seed: int, kinds: Sequence[str] = (), largest: int = 0) -> str:
        """The JSON that tests.soak.load is given."""
        assert self.share is not None
        assert self.link is not None
        plan = {
            "seed": seed,
            "socks": self.link.socks,
            "name": self.share.name,
            "ip": self.link.ip,
            "public": f"{self.lab.relay.ip}:{demo.RELAY_PORT}" if self.share.url else "",
            "machine": f"{self.share.name}.localhost",
            "ssh": self.ssh_command() if self.ssh is not None else [],
            "kinds": list(kinds),
        }
        return json.dumps({**plan, "largest": largest} if largest else plan)

    @contextmanager
    def load(
        self, seed: int, kinds: Sequence[str] = (), largest: int = 0
    ) -> Iterator[tuple[Path, subprocess.Popen[str]]]:
        """The load runs inside the block; yields where its records go, and its process."""
        bob = self.lab.bob
        path = bob.folder / "log" / f"load-{time.monotonic_ns()}.jsonl"
        errors = path.with_suffix(".txt")
        command = ["nice", "python", "-m", "tests.soak.load", self.plan(seed, kinds, largest)]
        with (
            path.open("w") as out,
            errors.open("w") as err,
            bob.running(command, stdout=out, stderr=err) as process,
        ):
            yield path, process
            if process.poll() is None:
                process.terminate()
            process.wait(LOAD_ENDS_WITHIN)
        if process.returncode:
            raise VshareError(f"the load failed: {errors.read_text().strip()[-2000:]}")


def pid_of(process: subprocess.Popen[str]) -> int:
    """The command that `Host.popen` started, rather than what brought it onto its host."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    deadline = time.monotonic() + READY_WITHIN
    while time.monotonic() < deadline:
        if found := children.read_text().split():
            return int(found[0])
        time.sleep(POLL)
    raise VshareError(f"{process.args!r} has not started")


def lay_cable(lab: Lab) -> None:
    """Between alice and her machine, which keeps its address."""
    alice, machine = lab.alice, lab.services
    ends = f"link add {CABLE} netns {alice.pid} type veth peer name {CABLE} netns {machine.pid}"
    subprocess.run(["ip", *ends.split()], check=True, timeout=READY_WITHIN)
    for host, place in ((alice, 1), (machine, 2)):
        address = f"{CABLE_NETWORK}.{place}"
        host.run(["ip", "address", "add", f"{address}/24", "dev", CABLE])
        host.run(["ip", "link", "set", CABLE, "up"])
    # its answers come from the address that was asked, those by UDP too
    machine.run(
        ["ip", "route", "replace", f"{CABLE_NETWORK}.0/24", "dev", CABLE, "src", machine.ip]
    )
    way = f"{machine.ip}/32 via {CABLE_NETWORK}.2 src {CABLE_NETWORK}.1"
    alice.run(["ip", "route", "add", *way.split()])


@contextmanager
def world(
    lab: Lab, *, static_ip: bool, ssh: bool = False, relay_options: tuple[str, ...] = ()
) -> Iterator[World]:
    """Everything is up inside the block."""
    made = World(lab, relay_options=relay_options)
    with ExitStack() as stack:
        stack.callback(made.close)
        lay_cable(lab)
        with ThreadPoolExecutor() as pool:
            serving = pool.submit(services.start, lab.services)
            starting = [pool.submit(made.start_relay)]
            if static_ip:
                starting.append(pool.submit(lab.bob.start_libvirtd))
            serving.result()
            for each in starting:
                each.result()
        made.start_service()
        share(made, stack)
        if ssh:
            share_ssh(made, stack)
        connect(made, stack, static_ip=static_ip)
        yield made


def share(made: World, stack: ExitStack) -> None:
    """`vshare up` of the machine."""
    alice: Host = made.lab.alice
    options = ("--target", made.lab.services.ip, *SHARED)
    made.share = stack.enter_context(demo.share(alice, made.relay_address, alice.home, *options))
    made.programs["vshare"] = made.share.program


def share_ssh(made: World, stack: ExitStack) -> None:
    """A share of the machine by SSH: everything goes through alice's connection to its sshd."""
    alice, machine = made.lab.alice, made.lab.services
    folder, theirs = alice.home / ".ssh", machine.home / ".ssh"
    folder.mkdir(mode=0o700, exist_ok=True)
    shutil.copy(theirs / "id_ed25519", folder / "id_ed25519")
    kind, key = (theirs / "host_ed25519.pub").read_text().split()[:2]
    (folder / "known_hosts").write_text(f"{machine.ip} {kind} {key}\n")
    options = ("--target", f"ssh://root@{machine.ip}", "--disable-http", *SSH)
    made.ssh = stack.enter_context(demo.share(alice, made.relay_address, alice.home, *options))
    made.programs["vshare ssh"] = made.ssh.program


def connect(made: World, stack: ExitStack, *, static_ip: bool) -> None:
    """`vconnect` on bob."""
    assert made.share is not None
    options = () if static_ip else ("--disable-static-ip",)
    made.link = stack.enter_context(demo.connect(made.lab.bob, made.share, *options))
    made.programs["vconnect"] = made.link.program
