"""`vshare up --domain --ssh`: the key goes into a real libvirt domain through its guest agent."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.demo import world
from tests.demo.world import Share
from tests.lab import Lab

pytestmark = pytest.mark.e2e

PUBLIC_PORT = 8080  # in the URL only
WITHIN = 90.0  # seconds for one command: SSH to an emulated machine
ENDS_WITHIN = 30.0  # seconds; 10 of them are for taking the key out
SSH = ("--ssh", "--ssh-no-password")
AS_VAGRANT = (*SSH, "--ssh-user", "vagrant")
OURS = re.compile(r'expiry-time="(\d{14})Z" ssh-ed25519 \S+ vshare-[0-9a-f]{8}')


@dataclass(frozen=True)
class Domain:
    """Alice's machine, as libvirt knows it, and another way to look into it."""

    lab: Lab
    relay: str
    name: str
    config: Path

    def run(self, command: str) -> str:
        """What `command` prints in the machine; over SSH, so that the agent is not asked."""
        return self.lab.alice.run(["ssh", "-F", str(self.config), "demo", command]).stdout

    def file(self) -> str:
        """The user's authorized_keys."""
        return self.run("cat .ssh/authorized_keys")

    def new_key(self, others: str) -> str:
        """Its one line that is not in `others`; the agent puts an empty line before it."""
        before, _, line = self.file().rstrip("\n").rpartition("\n")
        assert before.rstrip("\n") == others.rstrip("\n")
        return line

    @property
    def options(self) -> tuple[str, ...]:
        """What every `vshare up` is told here."""
        return ("--disable-http", "--domain", self.name)

    @contextmanager
    def shared(self, *options: str) -> Iterator[Share]:
        """`vshare up --domain`, in a folder without a Vagrantfile."""
        alice = self.lab.alice
        with world.share(alice, self.relay, alice.home, *self.options, *options) as share:
            yield share

    @contextmanager
    def other_share(self) -> Iterator[Share]:
        """A later `vshare up`, of a host beside alice and without SSH."""
        alice = self.lab.alice
        target = ("--disable-http", "--target", self.lab.services.ip)
        with world.share(alice, self.relay, alice.home, *target) as share:
            yield share

    def log_in(self, share: Share) -> str:
        """What `id -un` says to bob in the machine."""
        code = self.lab.bob.tmp / "code-agent"
        code.write_text(share.code + "\n")
        words = ["vconnect", "--ssh", "--code-file", str(code), share.connect, "--", "id", "-un"]
        return self.lab.bob.run(words, timeout=WITHIN).stdout.strip()


@pytest.fixture(scope="module")
def domain(lab: Lab, alice_machine: Path) -> Iterator[Domain]:
    alice = lab.alice
    (name,) = alice.run(["virsh", "list", "--name"]).stdout.split()
    config = alice.tmp / "ssh-config"
    config.write_text(
        alice.run(["vagrant", "ssh-config"], cwd=alice_machine, timeout=WITHIN).stdout
    )
    with world.relay(lab, PUBLIC_PORT) as relay:
        yield Domain(lab, relay, name, config)


def expiry(line: str) -> float:
    """When the key in this line ends, in seconds since the epoch."""
    match = OURS.fullmatch(line)
    assert match is not None, line
    return datetime.strptime(match[1], "%Y%m%d%H%M%S").replace(tzinfo=UTC).timestamp()


def test_the_key_is_there_as_long_as_the_share(domain: Domain) -> None:
    others = domain.file()
    began = time.time()
    with domain.shared(*AS_VAGRANT, "--expires", "1h") as share:
        line = domain.new_key(others)
        ends = expiry(line)
        assert began + 3595 <= ends <= time.time() + 3600
        assert domain.log_in(share) == "vagrant"
        assert domain.run("stat -c '%a %U' .ssh/authorized_keys").split() == ["600", "vagrant"]
        domain.lab.alice.run(["vshare", "extend", "2h"])  # from now on
        deadline = time.monotonic() + WITHIN
        while line in domain.file():  # `extend` does not wait for the machine
            assert time.monotonic() < deadline
        assert ends + 3600 <= expiry(domain.new_key(others)) <= time.time() + 7200
        assert domain.log_in(share) == "vagrant"
        share.program.interrupt()
    assert domain.file() == others


def test_a_user_has_to_be_named_that_the_domain_has(domain: Domain) -> None:
    alice = domain.lab.alice
    others = domain.file()
    command = ["vshare", "up", "--relay", domain.relay, *domain.options, *SSH]
    done = alice.run(command, check=False, timeout=WITHIN)
    assert done.returncode == 2, done.stderr
    assert "--ssh-user" in done.stderr
    done = alice.run([*command, "--ssh-user", "nobody-here"], check=False, timeout=WITHIN)
    assert done.returncode == 1, done.stderr
    assert "'nobody-here'" in done.stderr
    assert "qemu-guest-agent" in done.stderr
    assert domain.file() == others


def test_the_next_share_takes_out_what_a_killed_one_left(domain: Domain) -> None:
    alice = domain.lab.alice
    others = domain.file()
    with domain.shared(*AS_VAGRANT) as share:
        for line in alice.processes():
            if "vshare up" in line:
                alice.run(["kill", "-9", line.split()[0]], check=False)
        share.program.process.wait(WITHIN)
    assert expiry(domain.new_key(others)) > time.time()
    with domain.other_share():
        assert domain.file() == others


def test_an_agent_that_hangs_does_not_hold_up_the_end(domain: Domain) -> None:
    """libvirt's own call never returns then; the key has its time, and the next share."""
    others = domain.file()
    with domain.shared(*AS_VAGRANT) as share:
        domain.run("sudo kill -STOP $(pidof qemu-ga)")
        share.program.process.send_signal(signal.SIGINT)
        try:
            assert share.program.process.wait(ENDS_WITHIN) == 0
        finally:
            domain.run("sudo kill -CONT $(pidof qemu-ga)")
    assert expiry(domain.new_key(others)) > time.time()
    with domain.other_share():
        assert domain.file() == others
