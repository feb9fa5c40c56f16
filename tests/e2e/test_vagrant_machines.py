"""A Vagrantfile with two machines, booted by Vagrant: shared together, each reached in all ways."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from connect_vm.images import ImageError, find_image
from tests.demo import world
from tests.demo.world import Connection, Share
from tests.lab import Host, Lab
from tests.lab.vagrant import UP_WITHIN, VAGRANTFILE

SLOW = os.environ.get("VSHARE_SLOW") == "1"
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not SLOW, reason="two machines boot, minutes on two cores: VSHARE_SLOW=1"),
]

MACHINES = ("web", "db")
ONE = 'config.vm.define "demo"\n'
SEVERAL = f"%w[{' '.join(MACHINES)}].each {{ |name| config.vm.define(name) }}\n"
KEYS = "cat .ssh/authorized_keys"
ECHO = "7"  # the machine's
WITHIN = 90.0  # seconds for one command: SSH to an emulated machine, Vagrant's own start
TOLD_WITHIN = 20.0  # seconds until one hears that a machine is off; 1 or 2, if nothing else runs
TALK = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), 60) as sock:
    print("open", flush=True)
    for line in sys.stdin:
        sock.sendall(line.encode())
        print(sock.recv(100).decode(), end="", flush=True)
"""


@dataclass(frozen=True, slots=True)
class Made:
    """Two machines of alice's that run, and a relay."""

    lab: Lab
    relay: str
    folder: Path

    def inside(self, name: str, command: str) -> str:
        """What a command prints in a machine: as `vagrant ssh`, which takes seconds to start."""
        config = str(self.folder / "ssh-config")
        return self.lab.alice.run(["ssh", "-F", config, name, command], timeout=WITHIN).stdout


@pytest.fixture(scope="module")
def made() -> Iterator[Made]:
    try:
        find_image()
    except ImageError as error:
        pytest.skip(error.text)
    text = VAGRANTFILE.read_text()
    assert ONE in text
    with Lab(("relay", "alice", "bob")) as lab, ThreadPoolExecutor(1) as pool:
        path = lab.alice.tmp / "Vagrantfile"
        path.write_text(text.replace(ONE, SEVERAL))
        booting = pool.submit(lab.alice.vagrant_up, path)
        lab.bob.start_libvirtd()
        folder = booting.result()
        config = lab.alice.run(["vagrant", "ssh-config"], cwd=folder, timeout=WITHIN).stdout
        (folder / "ssh-config").write_text(config)
        with world.relay(lab, world.RELAY_PORT) as relay:
            made = Made(lab, relay, folder)
            for name in MACHINES:
                made.inside(name, f"sudo hostname {name}")
            yield made


@dataclass(frozen=True, slots=True)
class Both:
    """The machines are shared, and bob has them. `shares` and `ips` are by the machines' names."""

    made: Made
    shares: Mapping[str, Share]
    link: Connection
    ips: Mapping[str, str]


@pytest.fixture(scope="module")
def both(made: Made) -> Iterator[Both]:
    options = (*MACHINES, "--name", "shop", "--ssh", "--ssh-no-password")
    within = len(MACHINES) * world.SHARE_WITHIN
    with world.share(made.lab.alice, made.relay, made.folder, *options, within=within) as web:
        also = web.program.wait_for("started", WITHIN)
        db = Share(web.program, also["name"], also["code"], also["url"], also["connect"])
        with world.connect(made.lab.bob, web) as link:
            ips = {each.get("machine", "web"): each["ip"] for each in link.program.all("machine")}
            yield Both(made, {"web": web, "db": db}, link, ips)


def hello(host: Host, url: str, *options: str) -> str:
    """Which machine's page is there: `web`, `db`, or nothing."""
    curl = ["curl", "-sS", "-m", "30", *options, url]
    text = host.run(curl, timeout=WITHIN, check=False).stdout
    return text.partition("Hello from <b>")[2].partition("</b>")[0]


def test_none_is_named(made: Made) -> None:
    """It says which run, and what to type."""
    done = made.lab.alice.run(
        ["vshare", "up", "--relay", made.relay], cwd=made.folder, check=False, timeout=WITHIN
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-2:] == [
        "error: several machines are running: web, db",
        "hint: name the one to share, such as `vshare up web`; or all of them: `vshare up web db`",
    ]


def test_each_in_every_way(both: Both) -> None:
    """Its static IP, its names by SOCKS, its URL, and ssh."""
    bob = both.link.host
    relay = f"::{both.made.lab.relay.ip}:{world.RELAY_PORT}"
    assert sorted(both.ips) == sorted(MACHINES)
    assert len(bob.run(["virsh", "-q", "list"]).stdout.splitlines()) == 1  # has both IPs
    for name in MACHINES:
        share, ip = both.shares[name], both.ips[name]
        assert share.name == f"shop-{name}"
        assert hello(bob, f"http://{ip}/") == name
        for called in (share.name, name, ip):
            socks = ("--socks5-hostname", both.link.socks)
            assert hello(bob, f"http://{called}/", *socks) == name, called
        assert (urlsplit(share.url).hostname or "").startswith(share.name)
        assert hello(bob, share.url, "--connect-to", relay) == name
        assert bob.run(["dig", f"@{ip}", "+short", "demo.test"], timeout=WITHIN).stdout.strip()
    with ThreadPoolExecutor(len(MACHINES)) as pool:
        said = pool.map(lambda name: ssh(bob, both.shares[name], "uname -n"), MACHINES)
        assert tuple(said) == MACHINES


def ssh(host: Host, share: Share, command: str) -> str:
    """`vconnect --ssh`, as a guest of its own."""
    code = host.tmp / f"code-{share.name}-ssh"
    code.write_text(share.code + "\n")
    words = ["vconnect", "--ssh", "--code-file", str(code), share.connect, "--", *command.split()]
    return host.run(words, timeout=WITHIN).stdout.strip()


@contextmanager
def talking(host: Host, ip: str) -> Iterator[subprocess.Popen[str]]:
    """A session with the machine's echo."""
    with host.running(["python", "-c", TALK, ip, ECHO], stdin=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        yield process


def is_echoed(session: subprocess.Popen[str], text: str) -> bool:
    """Whether an open session still goes."""
    assert session.stdin is not None
    assert session.stdout is not None
    session.stdin.write(f"{text}\n")
    session.stdin.flush()
    return session.stdout.readline() == f"{text}\n"


def test_one_is_halted_and_comes_back(both: Both) -> None:
    """The other is not disturbed. It has the same static IP again, without anybody's doing."""
    alice, bob, folder = both.made.lab.alice, both.link.host, both.made.folder
    db, web = (f"http://{both.ips[name]}/" for name in ("db", "web"))
    with talking(bob, both.ips["web"]) as session:
        alice.run(["vagrant", "halt", "--force", "db"], cwd=folder, timeout=WITHIN)
        assert is_echoed(session, "halted")
        began = time.monotonic()
        assert hello(bob, db) == ""
        assert time.monotonic() - began < TOLD_WITHIN
        assert hello(bob, web) == "web"
        deadline = time.monotonic() + UP_WITHIN
        with alice.running(["vagrant", "up", "db"], cwd=folder):
            while hello(bob, db) != "demo":  # its disk is memory: what it was called is forgotten
                assert time.monotonic() < deadline
                assert is_echoed(session, "starting")
                assert hello(bob, web) == "web"
        assert is_echoed(session, "started")


def test_the_end_of_both(both: Both) -> None:
    """One Ctrl-C each; nothing is left of the machines' SSH key, or on bob's host."""
    assert " vshare-" in both.made.inside("web", KEYS)
    both.link.program.interrupt()
    assert both.link.host.run(["virsh", "-q", "list", "--all"]).stdout.strip() == ""
    both.shares["web"].program.interrupt()
    assert " vshare-" not in both.made.inside("web", KEYS)
