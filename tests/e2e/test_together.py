"""Servers by name, messages and presence between hosts: alice shares, bob and carol are guests."""

from __future__ import annotations

import base64
import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.demo import world
from tests.demo.program import Program
from tests.demo.world import Connection, Share
from tests.lab import Host, Lab

pytestmark = pytest.mark.e2e

PUBLIC_PORT = 8080  # in the URL only
WITHIN = 60.0  # seconds for one command, or for what is told
WEB = 3000
LARGE = 2**30  # bytes: minutes at the rate below
RATE = "4M"  # a second; what is in buffers is read soon
SOCKS_ONLY = "--disable-static-ip"


@pytest.fixture(scope="module")
def relay(lab: Lab) -> Iterator[str]:
    with world.relay(lab, PUBLIC_PORT) as address:
        yield address


@pytest.fixture(scope="module")
def served(lab: Lab, services_host: Host) -> Iterator[Lab]:
    """Git, Redis and a website on the host beside alice."""
    site = services_host.tmp / "site"
    site.mkdir()
    (site / "hello").write_text("of alice's machine\n")
    with (site / "large").open("wb") as file:
        file.truncate(LARGE)
    with web(services_host, site):
        yield lab


@contextmanager
def web(host: Host, folder: Path) -> Iterator[None]:
    """A website at port WEB of `host`."""
    command = ["python", "-u", "-m", "http.server", str(WEB), "--directory", str(folder)]
    with host.running(command) as process:
        deadline = time.monotonic() + WITHIN
        while fetch(host, f"http://127.0.0.1:{WEB}/").returncode:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield


def fetch(host: Host, url: str, *options: str) -> subprocess.CompletedProcess[str]:
    return host.run(["curl", "-sS", "-m", "30", *options, url], check=False, timeout=WITHIN)


def ask(host: Host, *command: str) -> dict[str, Any]:
    """A command for a running share or connection, its JSON."""
    done = host.run([*command, "--json"], timeout=WITHIN)
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def told(program: Program, kind: str, member: str, wanted: object) -> Any:
    """Wait until the newest event of `kind` has `wanted` as its `member`, or names of such."""
    while True:
        found = program.wait_for(kind, WITHIN)[member]
        names = [each["name"] for each in found] if kind == "servers" else found
        if names == wanted:
            return found


def test_shared_servers(served: Lab, relay: str) -> None:
    lab, target = served, ("--target", served.services.ip, "--disable-http", "--only-served")
    own = lab.bob.tmp / "own"
    own.mkdir()
    (own / "hello").write_text("of bob's own\n")
    with (
        web(lab.bob, own),
        world.share(lab.alice, relay, lab.alice.home, *target, "--serve", f"{WEB}=web") as share,
        world.connect(lab.bob, share, SOCKS_ONLY) as bob,
        world.connect(lab.carol, share, SOCKS_ONLY) as carol,
    ):
        local = {}
        for link in (bob, carol):
            (row,) = ask(link.host, "vconnect", "servers")["servers"]
            local[link.host.name] = row["local"]
            assert fetch(link.host, row["url"] + "/hello").stdout == "of alice's machine\n"
        assert local == {"bob": WEB + 1, "carol": WEB}
        assert fetch(lab.bob, f"http://localhost:{WEB}/hello").stdout == "of bob's own\n"
        ask(lab.alice, "vshare", "serve", "9418", "--name", "git")
        for link in (bob, carol):
            rows = told(link.program, "servers", "servers", ["web", "git"])
            words = ["git", "ls-remote", f"git://localhost:{rows[1]['local']}/project.git"]
            assert "HEAD" in link.host.run(words, timeout=WITHIN).stdout
        nothing_else(bob, share)
        mapped = ask(lab.carol, "vconnect", "map", "web", "8000")["server"]
        assert fetch(lab.carol, mapped["url"] + "/hello").stdout == "of alice's machine\n"
        unserve(lab, carol, mapped["url"])
        copied_by_the_terminal(lab.bob, "git", "localhost:9418")
        share.program.interrupt()


def copied_by_the_terminal(host: Host, server: str, link: str) -> None:
    """As over SSH: no desktop, but a terminal that knows OSC 52."""
    command = ["script", "-qec", f"vconnect copy {server}", "/dev/null"]
    shown = host.run(command, env={"TERM": "xterm-256color"}, timeout=WITHIN).stdout
    assert f"\x1b]52;c;{base64.b64encode(link.encode()).decode()}\x07" in shown


def nothing_else(link: Connection, share: Share) -> None:
    """What has no name is closed, also to SOCKS."""
    for port, opens in ((WEB, True), (6379, False)):
        proxy = ("--socks5-hostname", link.socks)
        done = fetch(link.host, f"http://{share.name}:{port}/hello", *proxy)
        assert (done.returncode == 0) is opens, done.stderr


def unserve(lab: Lab, link: Connection, url: str) -> None:
    """A download ends when what it comes from is taken back."""
    curl = ["curl", "-sS", "--limit-rate", RATE, "-o", "/dev/null", f"{url}/large"]
    with link.host.running(curl) as download:
        deadline = time.monotonic() + WITHIN
        while not ask(lab.alice, "vshare", "guests")["guests"][1]["bytes_out"] > 100_000:
            assert download.poll() is None
            assert time.monotonic() < deadline
        answer = ask(lab.alice, "vshare", "unserve", "web")
        assert (answer["cut"], answer["is_open"]) == (1, False)
        assert download.wait(WITHIN) != 0
    told(link.program, "servers", "servers", ["git"])
    assert fetch(link.host, f"{url}/hello").returncode != 0


def test_messages_and_presence(served: Lab, relay: str) -> None:
    lab, target = served, ("--target", served.services.ip, "--disable-http", "--show-guests")
    with (
        world.share(lab.alice, relay, lab.alice.home, *target) as share,
        world.connect(lab.bob, share, SOCKS_ONLY, "--as", "bob") as bob,
        world.connect(lab.carol, share, SOCKS_ONLY, "--as", "carol") as carol,
    ):
        told(bob.program, "guests", "guests", ["carol"])
        assert ask(lab.carol, "vconnect", "guests")["guests"] == ["bob"]
        assert ask(lab.alice, "vshare", "say", "restarting the db")["guests"] == 2
        for link in (bob, carol):
            told(link.program, "said", "text", "restarting the db")
        ask(lab.alice, "vshare", "kick", "carol")
        told(bob.program, "guests", "guests", [])
        share.program.interrupt()


def test_a_vagrant_machine(lab: Lab, relay: str, alice_machine: Path) -> None:
    """Its website, and what listens on its own loopback, by name."""
    options = ("--disable-http", "--only-served", "--serve", "80=site", "--serve", "8081=private")
    with (
        world.share(lab.alice, relay, alice_machine, *options) as share,
        world.connect(lab.bob, share, SOCKS_ONLY) as bob,
    ):
        rows = {row["name"]: row for row in ask(lab.bob, "vconnect", "servers")["servers"]}
        assert fetch(lab.bob, f"{rows['site']['url']}/").returncode == 0
        assert "loopback" in fetch(lab.bob, f"{rows['private']['url']}/").stdout
        assert bob.program.process.poll() is None
        share.program.interrupt()
