"""What must hold when something fails: streams go on or end with an error, and all comes back.

Each test is a small soak of one fault: the load checks every byte, the judge every end and how
long new streams took. Nothing of the share or of the guest is started again.
"""

from __future__ import annotations

import os
import random
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.demo.world import RELAY_PORT
from tests.lab import Host, Lab
from tests.soak import records
from tests.soak.faults import Fault, Faults
from tests.soak.judge import LATE, Outcome, judge
from tests.soak.records import Result
from tests.soak.world import World, world

pytestmark = [pytest.mark.e2e, pytest.mark.timed]

HOSTS = ("relay", "alice", "services", "bob")
KINDS = ("probe", "echo", "down", "up", "paused", "half", "udp", "curl")
LARGEST = 30_000_000  # bytes of one transfer
# Seconds until the load has some streams open: LARGEST at the slowest rate, and then some, since
# all transfers of a kind may be drawn that large.
STREAMS_WITHIN = 90.0
ALWAYS_OPEN = 2  # the load's echoes; all else may be between two streams just then
AFTER = 4.0  # seconds that are looked at after each fault
POLL = 0.1  # seconds
LONG = 600.0  # seconds that a link is down, at most
SLOW = os.environ.get("VSHARE_SLOW") == "1"
RELAY_STATE = "/run/relay-state"
SMALL_DISK = "size=8m"
HOG = """
import socket, sys, time
held = []
for _ in range(int(sys.argv[3])):
    held.append(socket.socket())
    held[-1].setblocking(False)
    held[-1].connect_ex((sys.argv[1], int(sys.argv[2])))
print("ready", flush=True)
time.sleep(60)
"""
HELD = 4.0  # seconds for which something is full
IDLE = 0.6  # of a processor: a program that waits for something does not spin
TICKS = os.sysconf("SC_CLK_TCK")


@pytest.fixture(scope="module")
def made() -> Iterator[World]:
    """A world of this module's own, with small disks for what writes."""
    with Lab(HOSTS) as lab:
        for host, path in ((lab.relay, RELAY_STATE), (lab.alice, audit_folder(lab.alice))):
            host.run(["mkdir", "-p", path])
            host.run(["mount", "-t", "tmpfs", "-o", SMALL_DISK, "tmpfs", path])
        with world(lab, static_ip=False, relay_options=("--state-dir", RELAY_STATE)) as made:
            yield made


@pytest.fixture
def faults(made: World) -> Faults:
    return FAULTS.setdefault(id(made), Faults(made, random.Random(0)))


FAULTS: dict[int, Faults] = {}  # it knows which addresses are in use


def audit_folder(alice: Host) -> str:
    return str(alice.home / ".local/state/vshare/log")


def through(made: World, fault: Callable[[], Fault]) -> Outcome:
    """One fault under load; fails with all that was violated. Being late alone may be the machine's
    doing, where others work too: then once more."""
    outcome, violations = once(made, fault)
    if violations and all(LATE in each for each in violations):
        print(violations)
        outcome, violations = once(made, fault)
    assert not violations, "\n".join(sorted(set(violations)))
    assert outcome.open >= ALWAYS_OPEN, "too few streams were open for this to say much"
    return outcome


def once(made: World, fault: Callable[[], Fault]) -> tuple[Outcome, list[str]]:
    """What became of the streams, and what was violated."""
    with made.load(random.getrandbits(32), KINDS, LARGEST) as (path, process):
        deadline = time.monotonic() + STREAMS_WITHIN
        while not ready(path):
            assert process.poll() is None, "the load ended"
            assert time.monotonic() < deadline, "no streams before the fault"
            time.sleep(POLL)
        happened = fault()
        time.sleep(AFTER)
    verdict = judge(records.read(path), [happened])
    (outcome,) = verdict.outcomes
    print(outcome)
    return outcome, verdict.violations


def ready(path: Path) -> bool:
    """Whether several kinds of streams have been seen to work."""
    done = {each.kind for each in records.read(path) if each.result is Result.OK}
    return {"probe", "down", "up", "half", "curl"} <= done


def test_relay_killed(made: World, faults: Faults) -> None:
    outcome = through(made, lambda: faults.relay_killed(1.0))
    assert outcome.went_on == outcome.open - outcome.ended


@pytest.mark.parametrize(
    ("who", "seconds"),
    [
        ("alice", 1.0),
        ("bob", 1.0),
        ("relay", 1.0),
        ("bob", 30.0),
        pytest.param("alice", 30.0, marks=pytest.mark.skipif(not SLOW, reason="VSHARE_SLOW=1")),
        pytest.param("relay", 30.0, marks=pytest.mark.skipif(not SLOW, reason="VSHARE_SLOW=1")),
    ],
)
def test_link_down(made: World, faults: Faults, who: str, seconds: float) -> None:
    outcome = through(made, lambda: faults.cut(who, seconds))
    assert outcome.went_on == outcome.open - outcome.ended


@pytest.mark.skipif(not SLOW, reason="ten minutes: VSHARE_SLOW=1")
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("who", ["alice", "bob"])
def test_link_down_for_ten_minutes(made: World, faults: Faults, who: str) -> None:
    """Too long for streams, which end with an error; share, guest and names are still there."""
    with made.load(1, ("probe", "echo", "paused", "short"), LARGEST) as (path, _):
        time.sleep(AFTER)
        cut = faults.cut(who, LONG)
        time.sleep(AFTER)
    seen = records.read(path)
    for each in seen:
        assert each.result is not Result.WRONG, each
    verdict = judge([each for each in seen if each.kind == "probe"], [cut])
    print(verdict.outcomes)
    assert not verdict.violations, verdict.violations


@pytest.mark.parametrize("who", ["alice", "bob"])
def test_suspended(made: World, faults: Faults, who: str) -> None:
    outcome = through(made, lambda: faults.suspended(who, 10.0))
    assert outcome.went_on == outcome.open - outcome.ended


@pytest.mark.parametrize("who", ["alice", "bob"])
def test_another_address(made: World, faults: Faults, who: str) -> None:
    outcome = through(made, lambda: faults.moved(who))
    assert outcome.went_on == outcome.open - outcome.ended


@pytest.mark.parametrize("who", ["alice", "bob"])
def test_a_router_that_forgets(made: World, faults: Faults, who: str) -> None:
    """Packets go nowhere, and nobody says so."""
    outcome = through(made, lambda: faults.forgotten(who))
    assert outcome.went_on == outcome.open - outcome.ended


def test_the_machine_s_server_restarted(made: World, faults: Faults) -> None:
    """Its streams are over, and say so: none of them looks complete."""
    outcome = through(made, faults.service_restarted)
    assert outcome.ended > 0


@contextmanager
def out_of_files(made: World) -> Iterator[int]:
    """The relay has none left inside the block: strangers hold the last ones. Yields its pid."""
    pid = made.pids()["vrelay"]
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    highest = max(int(each) for each in os.listdir(f"/proc/{pid}/fd"))
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (highest + 1, before[1]))
    command = ["python", "-c", HOG, made.lab.relay.ip, str(RELAY_PORT), str(highest + 1)]
    try:
        with made.lab.bob.running(command, stderr=None) as hog:
            assert hog.stdout is not None
            assert hog.stdout.readline() == "ready\n"
            yield pid
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)


def test_relay_out_of_file_descriptors(made: World) -> None:
    """What is open goes on; when there are some again, all is well."""

    def fault() -> Fault:
        began = time.monotonic()
        with out_of_files(made):
            time.sleep(HELD)
        return Fault("relay out of files", began, time.monotonic())

    pid = made.pids()["vrelay"]
    outcome = through(made, fault)
    assert outcome.went_on == outcome.open - outcome.ended
    assert made.pids()["vrelay"] == pid


def test_relay_out_of_file_descriptors_does_not_spin(made: World) -> None:
    with out_of_files(made) as pid:
        time.sleep(0.5)
        used = processor_time(pid)
        time.sleep(2.0)
        assert processor_time(pid) - used < 2.0 * IDLE


def processor_time(pid: int) -> float:
    """Seconds of CPU that a program has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


@contextmanager
def full(host: Host, folder: str) -> Iterator[None]:
    """A disk without a byte left, inside the block."""
    fill = f"{folder}/fill"
    host.run(["dd", "if=/dev/zero", f"of={fill}", "bs=4k"], check=False)
    host.run(["sh", "-c", f"yes >> {fill}"], check=False)
    try:
        yield
    finally:
        host.run(["rm", "-f", fill])


def test_relay_s_disk_full(made: World, faults: Faults) -> None:
    """It can be killed and started meanwhile: names and keys are the same as before."""
    address = made.relay_address

    def fault() -> Fault:
        with full(made.lab.relay, RELAY_STATE):
            return faults.relay_killed(1.0)

    outcome = through(made, fault)
    assert outcome.went_on == outcome.open - outcome.ended
    assert made.relay_address == address


def test_audit_log_s_disk_full(made: World) -> None:
    """Sharing goes on; the sharer is told; the log says itself how much is missing in it."""
    alice = made.lab.alice
    assert made.share is not None

    def fault() -> Fault:
        began = time.monotonic()
        with full(alice, audit_folder(alice)):
            time.sleep(HELD)
        return Fault("audit log's disk full", began, time.monotonic())

    outcome = through(made, fault)
    assert outcome.went_on == outcome.open
    (story,) = (alice.folder / "log").glob("*-vshare.txt")
    assert "Warning: the audit log" in story.read_text()
    log = alice.run(["vshare", "log", made.share.name]).stdout
    assert "gap: events that could not be written" in log, log[-2000:]
    alice.run(["vshare", "log", "verify", made.share.name])
