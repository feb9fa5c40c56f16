"""Guest and sharer in one network, the relay elsewhere: what goes directly, and when not."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from tests.demo import world
from tests.demo.world import Connection, Share
from tests.lab import Host, Lab
from tests.lab.plan import nat_rules
from tests.soak.judge import RECOVERS

pytestmark = [pytest.mark.e2e, pytest.mark.timed]

PUBLIC_PORT = 8080  # in the URL only
SIZE = 50_000_000  # bytes of a transfer
LONG = 200_000_000  # bytes of one that is interrupted; seconds here
A_LITTLE = 1_000_000  # bytes that the relay may see beside: handshakes, control, pings
WITHIN = 60.0  # seconds for one command
FALLS_BACK_WITHIN = RECOVERS  # seconds from a new stream to its answer, once the direct way is cut
SOCKS_ONLY = "--disable-static-ip"
THIS_HOST = ("--target", "127.0.0.1", "--disable-http")

# Fetches SIZE bytes through SOCKS and checks them; prints the seconds.
FETCH = """
import socks, struct, sys, time
from tests.e2e.connect_vm_services import SOURCE, pattern
address, name, size = sys.argv[1], sys.argv[2], int(sys.argv[3])
host, _, port = address.rpartition(":")
begin = time.perf_counter()
sock = socks.socksocket()
sock.settimeout(30)
sock.set_proxy(socks.SOCKS5, host, int(port), rdns=True)
sock.connect((name, SOURCE))
sock.sendall(struct.pack("!Q", size))
data = bytearray()
while more := sock.recv(1 << 18):
    if not data:
        print("begun", flush=True)
    data += more
took = time.perf_counter() - begin
assert bytes(data) == pattern(size), len(data)
print(took)
"""


@dataclass(frozen=True)
class Place:
    """The lab with a relay, and services on alice's loopback, which she shares."""

    lab: Lab
    relay: str

    @property
    def neighbour(self) -> Host:
        """A host beside alice."""
        return self.lab.services

    def relayed(self) -> int:
        """Bytes that the relay has received so far."""
        text = self.lab.relay.run(["cat", "/proc/net/dev"]).stdout
        line = next(line for line in text.splitlines() if line.strip().startswith("eth0:"))
        return int(line.partition(":")[2].split()[0])

    @contextmanager
    def shared(self, *options: str) -> Iterator[Share]:
        with world.share(
            self.lab.alice, self.relay, self.lab.alice.home, *THIS_HOST, *options
        ) as share:
            yield share

    @contextmanager
    def cut(self) -> Iterator[None]:
        """Between the neighbour and alice nothing passes, as if a cable were out; no answer comes
        from anybody. The way to the relay stays."""
        alice = self.lab.alice.ip
        rules = (
            "table ip cut {\n"
            f" chain out {{ type filter hook output priority 0; ip daddr {alice} drop; }}\n"
            f" chain in {{ type filter hook input priority 0; ip saddr {alice} drop; }}\n}}\n"
        )
        self.neighbour.run(["nft", "-f", "-"], input=rules)
        try:
            yield
        finally:
            self.neighbour.run(["nft", "delete", "table", "ip", "cut"])


@pytest.fixture(scope="module")
def place(lab: Lab) -> Iterator[Place]:
    services = ["python", "-m", "tests.e2e.connect_vm_services"]
    with world.relay(lab, PUBLIC_PORT) as relay, lab.alice.running(services) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield Place(lab, relay)


def fetch(link: Connection, share: Share, size: int = SIZE) -> float:
    """Seconds for a transfer whose every byte was compared."""
    command = ["python", "-c", FETCH, link.socks, share.name, str(size)]
    return float(link.host.run(command, timeout=WITHIN).stdout.split()[-1])


def test_streams_of_a_neighbour_do_not_pass_the_relay(place: Place) -> None:
    with place.shared() as share, world.connect(place.neighbour, share, SOCKS_ONLY) as link:
        event = link.program.first("path", WITHIN)
        assert event["value"] == "direct"
        assert event["address"].startswith(f"{place.lab.alice.ip}:")
        before = place.relayed()
        fetch(link, share)
        assert place.relayed() - before < A_LITTLE
        # Whoever is elsewhere comes through the relay, at the same time.
        with world.connect(place.lab.bob, share, SOCKS_ONLY) as bob:
            before = place.relayed()
            fetch(bob, share)
            assert place.relayed() - before > SIZE


@pytest.mark.parametrize("who", ["sharer", "guest"])
def test_the_relay_alone_where_either_wants_it(place: Place, who: str) -> None:
    ours = ("--relay-only",) if who == "sharer" else ()
    theirs = ("--relay-only",) if who == "guest" else ()
    with (
        place.shared(*ours) as share,
        world.connect(place.neighbour, share, SOCKS_ONLY, *theirs) as link,
    ):
        before = place.relayed()
        for _ in range(3):
            fetch(link, share)
        assert place.relayed() - before > 3 * SIZE


def test_a_way_that_is_cut_is_left_at_once(place: Place) -> None:
    """The connections in the pool are dead without a word, and so is the place to dial."""
    facts: dict[str, float] = {}
    with place.shared() as share, world.connect(place.neighbour, share, SOCKS_ONLY) as link:
        link.program.first("path", WITHIN)
        fetch(link, share)
        with place.cut():
            begin = time.monotonic()
            facts["at_once"] = fetch(link, share, 1000)
            assert link.program.wait_for("path", WITHIN)["value"] == "relay"
            facts["event"] = time.monotonic() - begin
            facts["later"] = fetch(link, share, 1000)
            before = place.relayed()
            fetch(link, share)
            assert place.relayed() - before > SIZE
        assert link.program.wait_for("path", WITHIN)["value"] == "direct"  # by itself
        before = place.relayed()
        fetch(link, share)
        assert place.relayed() - before < A_LITTLE
    print(json.dumps(facts))
    assert facts["later"] < FALLS_BACK_WITHIN
    assert facts["at_once"] < FALLS_BACK_WITHIN + 1.0  # it waits for the kernel to give up


def test_a_transfer_goes_on_over_the_relay(place: Place) -> None:
    """The cable is pulled in its middle; not a byte is lost, doubled or out of order."""
    with place.shared() as share, world.connect(place.neighbour, share, SOCKS_ONLY) as link:
        link.program.first("path", WITHIN)
        before = place.relayed()
        command = ["python", "-c", FETCH, link.socks, share.name, str(LONG)]
        with place.neighbour.running(command, stderr=None) as transfer:
            assert transfer.stdout is not None
            assert transfer.stdout.readline() == "begun\n"
            assert place.relayed() - before < A_LITTLE
            with place.cut():
                assert transfer.wait(WITHIN) == 0
                assert place.relayed() - before > A_LITTLE  # what was left
            print(json.dumps({"seconds": float(transfer.stdout.readline())}))


def test_a_stranger_in_the_network_learns_nothing(place: Place) -> None:
    """What a scan of alice's address finds: a port that takes connections and answers nothing."""
    with place.shared() as share, world.connect(place.neighbour, share, SOCKS_ONLY) as link:
        port = link.program.first("path", WITHIN)["address"].rpartition(":")[2]
        stranger = place.neighbour
        for server_name in ([], ["-servername", share.name]):
            probe = ["openssl", "s_client", "-connect", f"{place.lab.alice.ip}:{port}"]
            done = stranger.run(
                [*probe, *server_name, "-alpn", "vshare/1"], check=False, timeout=WITHIN
            )
            assert done.returncode != 0
            assert "no peer certificate available" in done.stdout


def test_nothing_passes_a_router(place: Place) -> None:
    """A router that lets everybody in: other ports of alice's are reached through it, not this."""
    lab = place.lab
    nat, alice = lab.hosts["alice-nat"], lab.alice.ip
    plain = f"import socket; s = socket.create_server(('{alice}', 9000)); print(1); s.accept()"
    with (
        place.shared() as share,
        world.connect(place.neighbour, share, SOCKS_ONLY) as link,
        lab.alice.running(["python", "-c", plain]) as process,
    ):
        assert process.stdout is not None
        assert process.stdout.readline() == "1\n"
        port = int(link.program.first("path", WITHIN)["address"].rpartition(":")[2])
        nat.run(
            ["nft", "insert", "rule", "ip", "filter", "forward", "ip", "daddr", alice, "accept"]
        )
        lab.relay.run(["ip", "route", "add", f"{alice}/32", "via", nat.ip])
        try:
            reached = [_reaches(lab.relay, alice, each) for each in (9000, port)]
            assert reached == [True, False]
            assert _reaches(place.neighbour, alice, port)
        finally:
            lab.relay.run(["ip", "route", "del", f"{alice}/32"])
            nat.run(["nft", "flush", "ruleset"])
            nat.run(["nft", "-f", "-"], input=nat_rules())


def _reaches(host: Host, address: str, port: int) -> bool:
    probe = f"import socket; socket.create_connection(('{address}', {port}), 3)"
    return host.run(["python", "-c", probe], check=False).returncode == 0


def test_speed(place: Place) -> None:
    """Figures, interleaved; nothing is asserted of them on a machine that is busy."""
    with (
        place.shared() as share,
        world.connect(place.neighbour, share, SOCKS_ONLY) as near,
        world.connect(place.lab.bob, share, SOCKS_ONLY) as far,
    ):
        near.program.first("path", WITHIN)
        speeds: dict[str, list[float]] = {"direct": [], "relay": []}
        for _ in range(5):
            speeds["direct"].append(SIZE / fetch(near, share) / 1e6)
            speeds["relay"].append(SIZE / fetch(far, share) / 1e6)
    print(json.dumps({name: sorted(round(each, 1) for each in s) for name, s in speeds.items()}))
