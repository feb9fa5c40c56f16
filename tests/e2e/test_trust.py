"""Who may come in, to what, for how long: with real machines, sshd, ssh, databases and guests."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.demo import world
from tests.demo.program import Program
from tests.demo.world import Connection, Share
from tests.lab import Host, Lab

pytestmark = pytest.mark.e2e

PUBLIC_PORT = 8080  # in the URL only
PASSWORD = "correct horse battery"
WITHIN = 90.0  # seconds for one command: SSH to an emulated machine, Vagrant's own start
LISTENERS = "cat .ssh/authorized_keys"
SOCKS_ONLY = "--disable-static-ip"


@dataclass(frozen=True)
class Machine:
    """Alice's running Vagrant machine, and how to log in to it as Vagrant does."""

    lab: Lab
    relay: str
    folder: Path

    def run(self, command: str) -> str:
        """What `command` prints in the machine."""
        config = self.folder / "ssh-config"  # as `vagrant ssh`, which takes seconds to start
        if not config.exists():
            shown = self.lab.alice.run(["vagrant", "ssh-config"], cwd=self.folder, timeout=WITHIN)
            config.write_text(shown.stdout)
        return self.lab.alice.run(["ssh", "-F", str(config), "demo", command]).stdout

    def keys(self) -> list[str]:
        """The keys of shares in the machine's authorized_keys."""
        return [line for line in self.run(LISTENERS).splitlines() if " vshare-" in line]

    @contextmanager
    def shared(self, *options: str) -> Iterator[Share]:
        """`vshare up` there, without a URL."""
        with world.share(
            self.lab.alice, self.relay, self.folder, "--disable-http", *options
        ) as share:
            yield share


@pytest.fixture(scope="module")
def relay(lab: Lab) -> Iterator[str]:
    with world.relay(lab, PUBLIC_PORT) as address:
        yield address


@pytest.fixture(scope="module")
def machine(lab: Lab, relay: str, alice_machine: Path) -> Machine:
    return Machine(lab, relay, alice_machine)


def secret(host: Host, name: str, text: str) -> str:
    """A file that only its user reads; its path."""
    path = host.tmp / name
    path.write_text(text + "\n")
    path.chmod(0o600)
    return str(path)


def ssh(
    host: Host, share: Share, command: str, *options: str, password: str = PASSWORD
) -> subprocess.CompletedProcess[str]:
    """`vconnect --ssh` on a guest's host, with a command for the machine."""
    words = ["vconnect", "--ssh", "--code-file", secret(host, "code", share.code), *options]
    if password:
        words += ["--ssh-password-file", secret(host, "password", password)]
    return host.run([*words, share.connect, "--", *command.split(" ")], check=False, timeout=WITHIN)


def ask(host: Host, *command: str) -> dict[str, Any]:
    """A command for a running share, its JSON."""
    done = host.run(["vshare", *command, "--json"], timeout=WITHIN)
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def fetch(link: Connection, host: str, port: int) -> subprocess.CompletedProcess[str]:
    """Whether a TCP port opens through SOCKS, and what it says first."""
    probe = (
        "import socks, sys\n"
        "s = socks.socksocket(); s.settimeout(20)\n"
        "proxy = sys.argv[1].rsplit(':', 1)\n"
        "s.set_proxy(socks.SOCKS5, proxy[0], int(proxy[1]), rdns=True)\n"
        "s.connect((sys.argv[2], int(sys.argv[3])))\n"
        "s.sendall(b'PING\\r\\n')\n"
        "print(s.recv(100))\n"
    )
    return link.host.run(
        ["python", "-c", probe, link.socks, host, str(port)], check=False, timeout=WITHIN
    )


def test_ssh_with_a_password(machine: Machine) -> None:
    """Real ssh, from two networks; the key is in the machine exactly as long as the share."""
    lab = machine.lab
    password = secret(lab.alice, "password", PASSWORD)
    assert machine.keys() == []
    with machine.shared("--ssh", "--ssh-password-file", password) as share:
        (line,) = machine.keys()
        assert "expiry-time=" in line
        for guest in (lab.bob, lab.carol):
            done = ssh(guest, share, "echo from-$(hostname); exit 7")
            assert (done.returncode, done.stdout.strip()) == (7, "from-demo"), done.stderr
            assert "Executing SSH..." in done.stderr
            left = guest.run(["sh", "-c", "grep -rl 'PRIVATE KEY' $TMPDIR $HOME || true"]).stdout
            assert left == ""
        wrong = ssh(lab.bob, share, "true", password="not the password")
        assert wrong.returncode == 1
        assert "password" in wrong.stderr.splitlines()[-2]
        # Who has the code alone has no way to sshd, not even with Vagrant's own key.
        with world.connect(lab.carol, share, SOCKS_ONLY) as carol:
            assert fetch(carol, share.name, 22).returncode != 0
        share.program.interrupt()
    assert machine.keys() == []


def test_ssh_once_for_one_of_two(machine: Machine) -> None:
    lab = machine.lab
    with machine.shared("--ssh", "--ssh-no-password", "--ssh-once") as share:
        assert len(machine.keys()) == 1
        with ThreadPoolExecutor(2) as pool:
            tries = [
                pool.submit(ssh, host, share, "echo in", password="")
                for host in (lab.bob, lab.carol)
            ]
            done = [each.result() for each in tries]
        assert sorted(each.stdout.strip() for each in done) == ["", "in"]
        (late,) = [each for each in done if each.returncode]
        assert "handed out already" in late.stderr
        share.program.wait_for("ssh-key-removed", WITHIN)
        assert machine.keys() == []
        again = ssh(lab.bob, share, "echo in", password="")
        assert "handed out already" in again.stderr


def test_a_killed_share_leaves_no_key_for_long(machine: Machine) -> None:
    """Its key has an end of its own, and the next `vshare up` takes it out before."""
    lab = machine.lab
    with machine.shared("--ssh", "--ssh-no-password") as share:
        assert len(machine.keys()) == 1
        kill(lab.alice, share.program)
    (line,) = machine.keys()
    assert "expiry-time=" in line
    with machine.shared():
        assert machine.keys() == []


def kill(host: Host, program: Program) -> None:
    """kill -9, of the program itself and not of what brought it onto the host."""
    for line in host.processes():
        pid, _, command = line.partition(" ")
        if "vshare up" in command:
            host.run(["kill", "-9", pid], check=False)
    program.process.wait(WITHIN)
    assert program.process.returncode == -signal.SIGKILL or program.process.returncode == 137


def test_the_public_key_of_vagrant_is_told(machine: Machine) -> None:
    done = machine.lab.alice.run(
        ["vshare", "inspect", "--json"], cwd=machine.folder, timeout=WITHIN
    )
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["vagrant_key"] is True
    ports = {(row["protocol"], row["port"]): row for row in report["listening"]}
    assert ports["tcp", 22]["open"] is False
    assert ports["tcp", 80]["open"] is True
    assert ports["tcp", 8081]["open"] is False  # on its loopback


def test_a_kicked_guest_is_out_within_a_second(machine: Machine) -> None:
    lab = machine.lab
    with machine.shared() as share, world.connect(lab.bob, share, SOCKS_ONLY) as bob:
        curl = ["curl", "-sS", "--socks5-hostname", bob.socks, "-o", "/dev/null"]
        url = f"http://{share.name}/large?bytes=2000000000"
        with lab.bob.running([*curl, url]) as download:
            while not (guest := ask(lab.alice, "guests")["guests"])[0]["bytes_out"]:
                assert download.poll() is None
            assert guest[0]["address"] == lab.hosts["bob-nat"].ip
            ended: list[float] = []

            def watch() -> None:
                download.wait(WITHIN)
                ended.append(time.monotonic())

            watcher = threading.Thread(target=watch)
            watcher.start()
            ask(lab.alice, "kick", guest[0]["name"])
            kicked = time.monotonic()
            watcher.join(WITHIN)
            assert download.returncode != 0
            assert ended[0] - kicked < 1.0
        error = bob.program.wait_for("error", WITHIN)
        assert "removed you" in error["text"]


def test_an_invite_opens_its_port_alone(machine: Machine) -> None:
    lab = machine.lab
    with machine.shared() as share:
        invite = ask(lab.alice, "invite", "--as", "tester", "--once", "--port", "7")
        code = Share(share.program, share.name, invite["code"], "", share.connect)
        with world.connect(lab.carol, code, SOCKS_ONLY) as carol:
            assert "PING" in fetch(carol, share.name, 7).stdout
            assert fetch(carol, share.name, 80).returncode != 0
            names = [each["name"] for each in ask(lab.alice, "guests")["guests"]]
            assert names == ["tester"]
            ask(lab.alice, "revoke", invite["invite"])
            carol.program.wait_for("error", WITHIN)


@pytest.mark.usefixtures("services_host")
def test_a_database_without_a_password_is_fenced(lab: Lab, relay: str) -> None:
    target = ("--target", lab.services.ip, "--disable-http")
    with (
        world.share(lab.alice, relay, lab.alice.home, *target) as share,
        world.connect(lab.bob, share, SOCKS_ONLY) as bob,
    ):
        assert fetch(bob, share.name, 6379).returncode != 0
        ask(lab.alice, "unfence", "6379")
        assert "PONG" in fetch(bob, share.name, 6379).stdout
        share.program.interrupt()
        log = lab.alice.run(["vshare", "log", share.name]).stdout
        assert "6379" in log
        whole = lab.alice.run(["vshare", "log", "verify", share.name], check=False)
        assert whole.returncode == 0, whole.stderr
    (path,) = (lab.alice.home / ".local/state/vshare/log").glob(f"{share.name}-*")
    text = path.read_text()
    path.write_text(text.replace(lab.hosts["bob-nat"].ip, "198.51.100.7"))
    assert lab.alice.run(["vshare", "log", "verify", share.name], check=False).returncode == 1
    assert share.code not in text


@pytest.mark.usefixtures("services_host")
def test_neighbours_and_the_sharers_host(lab: Lab, relay: str) -> None:
    """What --expose names is reached; alice herself never, whatever she is called."""
    target = ("--target", lab.services.ip, "--disable-http", "--unfence", "6379")
    own = int.from_bytes(bytes(map(int, lab.alice.ip.split("."))), "big")
    with (
        lab.alice.running(["python", "-m", "http.server", "8000"]),
        world.share(lab.alice, relay, lab.alice.home, *target, "--expose", "10.21.0.0/24") as share,
        world.connect(lab.bob, share, SOCKS_ONLY) as bob,
    ):
        assert "PONG" in fetch(bob, lab.services.ip, 6379).stdout
        for name in (lab.alice.ip, str(own), hex(own), f"::ffff:{lab.alice.ip}", "alice.test"):
            assert fetch(bob, name, 8000).returncode != 0, name
        for name in ("127.0.0.1", "localhost", "169.254.169.254", lab.relay.ip):
            assert fetch(bob, name, 8000).returncode != 0, name


def test_newcomers_wait_for_alice(lab: Lab, relay: str) -> None:
    target = ("--target", lab.services.ip, "--disable-http", "--approve")
    with world.share(lab.alice, relay, lab.alice.home, *target) as share:

        def answer(word: str) -> None:
            waiting = share.program.wait_for("waiting", WITHIN)
            lab.alice.run(["vshare", word, waiting["guest"]])

        with ThreadPoolExecutor(1) as pool:
            saying = pool.submit(answer, "approve")
            with world.connect(lab.bob, share, SOCKS_ONLY):
                saying.result()
            saying = pool.submit(answer, "deny")
            code = secret(lab.carol, "code", share.code)
            line = ["vconnect", SOCKS_ONLY, "--code-file", code, share.connect]
            denied = lab.carol.run(line, check=False, timeout=WITHIN)
            saying.result()
        assert denied.returncode == 1
        assert "did not let you in" in denied.stderr


def test_a_share_is_extended_and_expires(lab: Lab, relay: str) -> None:
    target = ("--target", lab.services.ip, "--disable-http", "--expires", "20s")
    with world.share(lab.alice, relay, lab.alice.home, *target) as share:
        with world.connect(lab.bob, share, SOCKS_ONLY) as bob:
            ask(lab.alice, "extend", "10s")
            notice = bob.program.wait_for("notice", WITHIN)
            assert notice["kind"] == "extended"
            error = bob.program.wait_for("error", WITHIN)
            assert "expired" in error["text"]
        assert share.program.process.wait(WITHIN) == 1
    unknown = ssh(lab.bob, share, "true", password="")
    assert unknown.returncode == 1
    assert f"no share named {share.name!r} is" in unknown.stderr


def test_secrets_are_in_no_command_line(machine: Machine) -> None:
    lab = machine.lab
    password = secret(lab.alice, "password", PASSWORD)
    with machine.shared("--ssh", "--ssh-password-file", password) as share:
        words = ["vconnect", "--ssh", "--code-file", secret(lab.bob, "code", share.code)]
        words += ["--ssh-password-file", secret(lab.bob, "password", PASSWORD)]
        with lab.bob.running([*words, share.connect, "--", "cat"], stdin=subprocess.PIPE) as guest:
            assert guest.stdin is not None
            assert guest.stdout is not None
            guest.stdin.write("here\n")
            guest.stdin.flush()
            assert guest.stdout.readline() == "here\n"
            seen = ""
            for host in (lab.alice, lab.bob):
                for line in host.processes():
                    pid = line.split()[0]
                    seen += line
                    seen += host.run(["cat", f"/proc/{pid}/environ"], check=False).stdout
            for hidden in (PASSWORD, share.code, "PRIVATE KEY"):
                assert hidden not in seen
            guest.stdin.close()
            assert guest.wait(WITHIN) == 0
    assert os.listdir(lab.bob.tmp)  # the files above, and nothing with a key in it
