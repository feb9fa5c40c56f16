"""Open streams survive: real ssh, psql and curl while the way under them is taken away."""

from __future__ import annotations

import os
import queue
import random
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.lab import Host, Lab
from tests.soak import content
from tests.soak.faults import Fault, Faults
from tests.soak.world import World, world

pytestmark = [pytest.mark.e2e, pytest.mark.timed]

HOSTS = ("relay", "alice", "services", "bob")
SLOW = os.environ.get("VSHARE_SLOW") == "1"
SIZE = 1_000_000_000 if SLOW else 300_000_000  # bytes of a download
RATE = "15M"  # bytes per second: three faults come while it runs
SEED = 7
WITHIN = 60.0  # seconds for one answer: longer than what the faults here last
APART = 3.0  # seconds between faults
PAUSE = 0.05  # seconds between a session's lines
COUNTING = 'echo ready; while read -r line; do echo "got $line"; done; echo over'
PSQL = ("psql", "-U", "postgres", "-qAtX", "-v", "ON_ERROR_STOP=1")


@dataclass
class Running:
    world: World
    faults: Faults


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with Lab(HOSTS) as lab, world(lab, static_ip=True, ssh=True) as made:
        yield Running(made, Faults(made, random.Random(0)))


class Dialogue:
    """A program that is told lines and answers with lines."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self.process = process
        self._log = log
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line.rstrip("\n"))
        self._lines.put("<end>")

    def say(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def hear(self) -> str:
        try:
            line = self._lines.get(timeout=WITHIN)
        except queue.Empty:
            pytest.fail(f"no answer in {WITHIN:.0f} s: {self._log.read_text()[-1000:]}")
        assert line != "<end>", self._log.read_text()[-1000:]
        return line

    def end(self) -> int:
        """End its input; its exit code."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(WITHIN)


@contextmanager
def dialogue(host: Host, command: Sequence[str]) -> Iterator[Dialogue]:
    log = host.folder / "log" / f"{time.monotonic_ns()}-{command[0]}.txt"
    with (
        log.open("w") as errors,
        host.running(command, stdin=subprocess.PIPE, stderr=errors) as process,
    ):
        yield Dialogue(process, log)


class Count(threading.Thread):
    """A session in which each line is answered, over and over; keeps what was wrong."""

    def __init__(self, talk: Dialogue) -> None:
        super().__init__(daemon=True)
        self.talk = talk
        self.count = 0
        self.longest = 0.0  # seconds for one answer
        self.wrong = ""
        self.over = threading.Event()

    def run(self) -> None:
        try:
            while not self.over.wait(PAUSE) and not self.wrong:
                began = time.monotonic()
                self.talk.say(str(self.count))
                answer = self.talk.hear()
                self.longest = max(self.longest, time.monotonic() - began)
                if answer != f"got {self.count}":
                    self.wrong = f"{answer!r} after {self.count} lines"
                self.count += 1
        except BaseException as error:
            self.wrong = f"{type(error).__name__} after {self.count} lines: {error}"

    def finish(self) -> None:
        self.over.set()
        self.join(WITHIN)
        assert not self.wrong, self.wrong
        assert self.talk.end() == 0
        assert self.talk.hear() == "over"


@contextmanager
def downloads(made: World) -> Iterator[dict[str, subprocess.Popen[str]]]:
    """curl through SOCKS and at the static IP; each prints a digest at its end."""
    assert made.link is not None
    assert made.share is not None
    host, ways = made.lab.bob, {}
    url = f"http://{{}}/{SEED}/{SIZE}"
    with ExitStack() as stack:
        for name, options, place in (
            ("ip", "", made.link.ip),
            ("socks", f"--socks5-hostname {made.link.socks}", made.share.name),
        ):
            curl = f"curl -sSf --limit-rate {RATE} {options} {url.format(place)} | sha256sum"
            command = ["bash", "-o", "pipefail", "-c", curl]
            ways[name] = stack.enter_context(host.running(command))
        yield ways


def survive(running: Running, break_things: Sequence[object]) -> None:
    """Sessions are opened, all that is in `break_things` called, and the sessions go on."""
    made, bob = running.world, running.world.lab.bob
    assert made.link is not None
    expected = content.digest(SEED, SIZE)
    with (
        dialogue(bob, [*made.ssh_command(), COUNTING]) as session,
        dialogue(bob, [*PSQL, "-h", made.link.ip]) as psql,
        downloads(made) as curls,
    ):
        assert session.hear() == "ready"
        psql.say("create table if not exists kept (mark int, n int); select pg_backend_pid();")
        backend, mark = psql.hear(), time.monotonic_ns() % 1_000_000
        psql.say("begin;")
        counting = Count(session)
        counting.start()
        for number, each in enumerate(break_things):
            psql.say(f"insert into kept values ({mark}, {number}); select {number};")
            time.sleep(APART)
            assert callable(each)
            fault = each()
            assert isinstance(fault, Fault)
            assert psql.hear() == str(number)
        psql.say("commit; select pg_backend_pid();")
        assert psql.hear() == backend
        psql.say(f"select count(*) from kept where mark = {mark};")
        assert psql.hear() == str(len(break_things))
        assert psql.end() == 0
        for name, curl in curls.items():
            output, errors = curl.communicate(timeout=SIZE / 1e6)
            assert curl.returncode == 0, f"{name}: {errors}"
            assert output.split()[0] == expected, name
        counting.finish()
        print(f"{counting.count} lines over ssh, the longest answer {counting.longest:.2f} s")


def test_the_relay_is_killed_three_times(running: Running) -> None:
    survive(running, [lambda: running.faults.relay_killed(1.0)] * 3)


def test_the_guest_s_laptop_changes_networks(running: Running) -> None:
    """To another one, with its link down for some seconds, and back."""

    def roam() -> Fault:
        running.faults.cut("bob", 3.0)
        return running.faults.moved("bob")

    survive(running, [roam, roam])


def test_all_at_once(running: Running) -> None:
    """The relay is killed while the guest is in another network and the sharer sleeps."""

    def everything() -> Fault:
        running.faults.moved("bob")
        running.faults.suspended("alice", 2.0)
        return running.faults.relay_killed(1.0)

    survive(running, [everything])
