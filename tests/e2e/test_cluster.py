"""Three relays that are one, in the lab: killed, cut off, upgraded, and left without their Redis,
while browsers visit every share by way of every relay and a guest downloads.

What must hold: no visitor gets another share's bytes, no name is lost or given to another key, and
all is back in time.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from threading import Thread
from typing import Any

import pytest

from tests.demo.program import started
from tests.e2e import lab_networks as net
from tests.e2e.relay_cluster import DOMAIN, NODES, SITES, Cluster, relay_cluster, site_bytes
from tests.lab import Lab, plan
from tests.soak.judge import RECOVERS
from tunnel.errors import VshareError

pytestmark = [pytest.mark.e2e, pytest.mark.timed]
SHARES = {"first-share": 8001, "second-share": 8002, "third-share": 8003}
MOVED_WITHIN = 3.0 * RECOVERS / 2  # seconds; three are promised where two are to a guest
LEASE = 6.0  # seconds until a relay that Redis does not hear has no names any more
WITHIN = 60.0  # seconds for one command, or what a test waits for
REDIS_AWAY = 8.0  # seconds: longer than leases last
POLL = 0.1  # seconds
DOWNLOAD = 20_000_000  # bytes
RATE = "2M"  # bytes a second, so that a download outlasts what happens

Visit = dict[str, Any]


class Visitors:
    """What tests.e2e.relay_visits tells."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.visits: list[Visit] = []
        Thread(target=self._read, args=(process.stdout,), daemon=True).start()

    def _read(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.visits.append(json.loads(line))

    def back(self, since: float, nodes: Sequence[str], names: Sequence[str]) -> float:
        """Wait until each share was visited by way of each node, in a visit that began after
        `since` and after the last one that failed; how long after `since` the last was."""
        deadline = time.monotonic() + WITHIN
        while True:
            found = [self._back_one(since, node, name) for node in nodes for name in names]
            if None not in found:
                return max(at for at in found if at is not None) - since
            assert time.monotonic() < deadline, [
                (visit["node"], visit["name"], visit["what"]) for visit in self.failed(since)[-9:]
            ]
            time.sleep(POLL)

    def _back_one(self, since: float, node: str, name: str) -> float | None:
        ended = None
        for visit in list(self.visits):
            if visit["began"] > since and (visit["node"], visit["name"]) == (node, name):
                if visit["what"] != "right":
                    ended = None
                elif ended is None:
                    ended = float(visit["ended"])
        return ended

    def failed(self, since: float, *, besides: str = "") -> list[Visit]:
        """Visits that came to nothing, by way of the nodes but one."""
        return [
            visit
            for visit in list(self.visits)
            if visit["began"] > since and visit["what"] != "right" and visit["node"] != besides
        ]


class World:
    """The cluster, three shares of alice's, and who visits them."""

    def __init__(self, lab: Lab, cluster: Cluster) -> None:
        self.lab, self.cluster = lab, cluster
        self.visitors: Visitors
        self.codes: list[str] = []  # of the shares, in their order

    @property
    def relay(self) -> str:
        """As people name it."""
        return f"{DOMAIN}#{self.cluster.pin}"

    def up(self, name: str, port: int) -> list[str]:
        """The command that shares a site of alice's neighbour."""
        command = ["vshare", "up", "--json", "--relay", self.relay, "--name", name]
        return [*command, "--target", self.lab.services.ip, "--http", str(port)]

    def carols(self, name: str, node: str = "") -> list[str]:
        """The command that shares carol's own host, by way of any relay or of that one."""
        relay = f"{self.lab.hosts[node].ip}:443#{self.cluster.pin}" if node else self.relay
        command = ["vshare", "up", "--json", "--relay", relay, "--name", name]
        return [*command, "--target", self.lab.carol.ip, "--disable-http"]

    def refusal(self, name: str, node: str = "") -> str:
        """What carol is told, who wants to share with that name and a key of her own."""
        done = self.lab.carol.run(self.carols(name, node), check=False, timeout=WITHIN)
        assert done.returncode != 0
        return done.stdout + done.stderr

    def can_share(self, name: str) -> bool:
        """Whether carol can share with that name; she ends it at once."""
        with started(self.lab.carol, self.carols(name)) as share:
            try:
                share.wait_for("started", WITHIN)
            except VshareError as error:
                if "Redis cannot be reached" not in error.text:
                    raise
                return False
        return True

    @contextmanager
    def download(self) -> Iterator[None]:
        """A guest's, while the block runs; its bytes are right, and come without a break."""
        host = self.lab.bob
        code = net.code_file(host, self.codes[0])
        command = ["vconnect", "--json", "--disable-static-ip", "--relay-only"]
        command += ["--code-file", str(code), f"{next(iter(SHARES))}@{self.relay}"]
        with started(host, command) as connection:
            socks = connection.wait_for("socks", WITHIN)["address"]
            got = host.tmp / "got"
            url = f"http://{next(iter(SHARES))}:8001/{DOWNLOAD}"
            curl = ["curl", "-sS", "--limit-rate", RATE, "--socks5-hostname", socks, "-o", str(got)]
            with host.running([*curl, url]) as downloading:
                yield
                assert downloading.wait(WITHIN) == 0
            assert got.read_bytes() == site_bytes(8001, DOWNLOAD)

    def without(self, node: str) -> str:
        """Rules of nftables for a relay that reaches nobody of the cluster, and clients."""
        rest = ", ".join(self.lab.hosts[name].ip for name in plan.CLUSTER if name != node)
        return "\n".join(
            f"chain {way} {{ type filter hook {way} priority 0; ip {side} {{ {rest} }} drop; }}"
            for way, side in (("input", "saddr"), ("output", "daddr"))
        )

    def check(self) -> None:
        """Nobody got what is another share's."""
        assert not [visit for visit in self.visitors.visits if visit["what"] == "wrong"]


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with (
        Lab((*plan.CLUSTER, "alice", "services", "bob", "carol")) as lab,
        relay_cluster(lab) as cluster,
        ExitStack() as stack,
    ):
        sites = ["python", "-c", SITES, *map(str, SHARES.values())]
        stack.enter_context(lab.services.running(sites))
        for port in SHARES.values():
            net.wait_for_port(lab.services, port)
        made = World(lab, cluster)
        for name, port in SHARES.items():
            share = stack.enter_context(started(lab.alice, made.up(name, port), cwd=lab.alice.home))
            made.codes.append(share.wait_for("started", WITHIN)["code"])
        nodes = {name: lab.hosts[name].ip for name in NODES}
        told = json.dumps({"nodes": nodes, "pin": cluster.pin, "shares": SHARES})
        visiting = lab.carol.running(["python", "-m", "tests.e2e.relay_visits", told])
        made.visitors = Visitors(stack.enter_context(visiting))
        yield made


def test_a_relay_is_killed(world: World) -> None:
    world.visitors.back(time.monotonic(), NODES, list(SHARES))
    with world.download():
        for node in NODES:
            others = [name for name in NODES if name != node]
            at = time.monotonic()
            world.cluster.kill(node)
            took = world.visitors.back(at, others, list(SHARES))
            print(f"{node} killed: all shares were back by way of the others after {took:.2f} s")
            assert took < MOVED_WITHIN
            world.cluster.start(node)
            world.visitors.back(time.monotonic(), NODES, list(SHARES))
    world.check()


def test_redis_is_killed(world: World) -> None:
    world.visitors.back(time.monotonic(), NODES, list(SHARES))
    with world.download():
        at = time.monotonic()
        world.cluster.redis.kill()
        world.cluster.redis.wait(10)
        while time.monotonic() < at + REDIS_AWAY:
            time.sleep(POLL)
        assert "Redis cannot be reached" in world.refusal("fourth-share")
        assert not world.visitors.failed(at)
        again = time.monotonic()
        world.cluster.start_redis()
        while not world.can_share("fourth-share"):
            assert time.monotonic() < again + WITHIN
        print(f"Redis is back: a new share after {time.monotonic() - again:.2f} s")
        assert "belongs to somebody else" in world.refusal("second-share")
        assert not world.visitors.failed(at)
    world.check()


def test_a_relay_is_cut_off_from_redis_and_the_others(world: World) -> None:
    """But not from clients: it may not go on as if the names were its own."""
    for node in NODES:
        others = [name for name in NODES if name != node]
        world.visitors.back(time.monotonic(), NODES, list(SHARES))
        with world.download(), net.nft(world.lab.hosts[node], world.without(node)):
            at = time.monotonic()
            took = world.visitors.back(at, others, list(SHARES))
            print(f"{node} cut off: all shares were back by way of the others after {took:.2f} s")
            assert took < LEASE + MOVED_WITHIN
            assert "belongs to somebody else" in world.refusal("third-share", others[0])
            assert "Redis cannot be reached" in world.refusal("fifth-share", node)
    world.visitors.back(time.monotonic(), NODES, list(SHARES))
    world.check()


def test_one_after_another_is_upgraded(world: World) -> None:
    world.visitors.back(time.monotonic(), NODES, list(SHARES))
    with world.download():
        for node in NODES:
            others = [name for name in NODES if name != node]
            at = time.monotonic()
            world.cluster.drain(node)
            took = world.visitors.back(at, others, list(SHARES))
            failed = world.visitors.failed(at, besides=node)
            print(f"{node} drained: {took:.2f} s, {len(failed)} visits by way of the others failed")
            assert took < MOVED_WITHIN
            assert world.cluster.ended(node) == 0
            world.cluster.start(node)
            world.visitors.back(time.monotonic(), NODES, list(SHARES))
    world.check()
