"""A relay, or several together, under as many shares as one takes: `python -m bench.relay_load`.

Real `vrelay serve` processes with accounts, and simulated shares (bench/tiny_shares.py) that
register through the control channel with a token and the names that they had before, as after a
restart. Told are memory, registrations, look-ups (new visitors that find their share), what a
scrape of the metrics costs, and how soon all shares have ended once their token is revoked. The
table is in docs/operations.md; with --json everything is one object.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import json
import resource
import secrets
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.processes import WITH_US, wait_until
from bench.relay_scale import Fleet, Sight
from bench.tiny_shares import Owned, Visits, run_shares, visit_routes
from relay.names import NameBook
from tunnel.address import parse_relay
from tunnel.names import ShareName
from tunnel.open_files import raise_open_files_limit

SHARES = 10_000  # as many as one relay takes (relay.registry.MAX_SHARES)
VISITS = 3_000
VISITORS = 32  # at once
SETTLE = 1.0  # seconds until what a phase left behind is cleaned up
SCRAPES = 5
SPARE_FILES = 1_500  # open files of a relay that are for no share: reserve, pipes, visitors
STARTS_WITHIN = 10.0  # seconds
READY_WITHIN = 30.0  # seconds: until the nodes of a cluster know what there is
LEASE = 86_400.0  # seconds


@dataclass
class Figures:
    """What is found. CPU is of one relay's process, in ms for one of what is counted."""

    nodes: int
    shares: int
    parked: int
    open_files: int
    register_per_s: float
    register_cpu_ms: float
    kb_per_share: float
    kb_per_parked: float
    mb_of_node: float
    idle_cpu_percent: float
    lookup_per_s: float
    lookup_cpu_ms: float
    lookup_p50_ms: float
    lookup_p99_ms: float
    lookups_failed: int
    scrape_ms: float
    scrape_kb: float
    revoke_first_s: float
    revoke_half_s: float
    revoke_last_s: float


@dataclass
class Node:
    """One relay that runs."""

    process: subprocess.Popen[str]
    address: str
    metrics: str


def vrelay(*words: str) -> list[str]:
    """The command line of one."""
    return [sys.executable, "-m", "relay.cli", *words]


@contextlib.contextmanager
def running(state: Path, *options: str) -> Iterator[Node]:
    """`vrelay serve` on free ports of loopback."""
    words = ["serve", "--json", "--listen", "127.0.0.1:0", "--accounts"]
    words += ["--metrics", "127.0.0.1:0", "--state-dir", str(state), *options]
    with subprocess.Popen(
        [*WITH_US, *vrelay(*words)], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            serving = json.loads(process.stdout.readline())
            port = serving["metrics_port"]
            yield Node(process, serving["relay"], f"http://127.0.0.1:{port}/metrics")
        finally:
            process.send_signal(signal.SIGINT)  # at once: SIGTERM waits for visitors


@contextlib.contextmanager
def redis(folder: Path) -> Iterator[str]:
    """A Redis of our own, on a socket in `folder`; its URL."""
    place = folder / "redis.sock"
    words = ("--port", "0", "--unixsocket", str(place), "--save", "", "--appendonly", "no")
    command = [*WITH_US, "redis-server", *words, "--dir", str(folder), "--loglevel", "warning"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            wait_until(place.exists, "Redis", STARTS_WITHIN)
            yield f"unix://{place}"
        finally:
            process.terminate()


@contextlib.contextmanager
def running_nodes(folder: Path, count: int) -> Iterator[list[Node]]:
    """So many relays, one cluster if they are several; the first has the accounts in `folder`."""
    with contextlib.ExitStack() as stack:
        if count == 1:
            yield [stack.enter_context(running(folder))]
            return
        url = stack.enter_context(redis(folder))
        key = folder / "cluster.key"
        key.write_text(secrets.token_hex(32))
        key.chmod(0o600)
        words = ("--cluster", url, "--cluster-key", str(key), "--node-address", "127.0.0.1:0")
        states = [folder, *(folder / f"node{number}" for number in range(1, count))]
        yield [stack.enter_context(running(state, *words)) for state in states]


def is_ready(node: Node) -> bool:
    """Whether it would take shares."""
    try:
        page = urllib.request.urlopen(node.metrics.replace("/metrics", "/readyz"), timeout=10)
    except urllib.error.HTTPError:
        return False
    page.close()
    return True


def make_names(state: Path, shares: int) -> None:
    """The names are the shares' already, as after a restart: nobody gets so many at once anew."""
    owned, now = Owned(), time.time()
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    with NameBook(state / "names.sqlite") as names:
        for number in range(shares):
            public = owned.key(number).public_key().public_bytes_raw()
            digest = hashlib.sha256(public).digest()
            name = ShareName(owned.name(number))
            assert names.claim(name, digest, now, now + LEASE, account=1)


def make_token(state: Path, shares: int) -> tuple[str, str]:
    """A token's ID and itself."""
    run = ("--json", "--state-dir", str(state))
    ask(vrelay("user", "create", "load", *run))
    made = ask(vrelay("token", "create", "--user", "load", "--shares", str(shares), *run))
    return str(made["id"]), str(made["token"])


def ask(command: list[str]) -> dict[str, object]:
    """What a command answers. Raises CalledProcessError."""
    answer = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout
    found: dict[str, object] = json.loads(answer)
    return found


@contextlib.contextmanager
def fleet(nodes: list[Node], shares: int, parked: int, token: str) -> Iterator[Fleet]:
    """Simulated shares, spread over the nodes: two processes at least."""
    processes, at = [], 0
    count = max(2, len(nodes))
    with contextlib.ExitStack() as stack:
        secret = stack.enter_context(tempfile.NamedTemporaryFile("w"))
        print(token, file=secret, flush=True)
        for number in range(count):
            mine = shares // count + (number < shares % count)
            address = nodes[number % len(nodes)].address
            options = ["--as-shares", address, "--shares", str(mine), "--parked", str(parked)]
            options += ["--first", str(at), "--token-file", secret.name]
            options += ["--source", f"127.0.{number + 1}"]
            process = subprocess.Popen(
                [*WITH_US, sys.executable, "-m", "bench.relay_load", *options],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            stack.callback(process.wait)
            stack.callback(process.terminate)
            processes.append(process)
            at += mine
        yield Fleet(processes)


class Load:
    """What is measured of nodes with shares."""

    def __init__(self, nodes: list[Node], shares: Fleet) -> None:
        self._nodes, self._fleet = nodes, shares

    def see(self) -> Sight:
        """The first of the nodes, after a while."""
        return Sight.of(self._nodes[0].process.pid)

    async def register(self) -> tuple[Sight, float, Sight]:
        """The sight before, how long it took, and the sight after."""
        await self._fleet.say("warm")
        await asyncio.sleep(SETTLE)
        before, began = self.see(), time.monotonic()
        await self._fleet.say("register")
        took = time.monotonic() - began
        await asyncio.sleep(SETTLE)
        return before, took, self.see()

    async def park(self, some: int, processes: int) -> tuple[list[list[str]], Sight]:
        """The routes that visitors can find, by process, and the sight after."""
        answers = await self._fleet.say(f"park {some // processes}")
        await asyncio.sleep(SETTLE)
        return [list(map(str, _list(each["routes"]))) for each in answers], self.see()

    async def look_up(self, routes: list[list[str]], visits: int) -> tuple[Visits, float]:
        """Visits at the first node to the shares of all, and the CPU ms of each there."""
        mixed = [route for each in zip(*routes, strict=False) for route in each]
        before = self.see()
        found = await visit_routes(parse_relay(self._nodes[0].address), mixed, visits, VISITORS)
        after = self.see()
        return found, (after.cpu - before.cpu) / visits * 1000

    def scrape(self) -> tuple[float, float]:
        """Seconds of a scrape, the median, and its kB."""
        times, size = [], 0
        for _ in range(SCRAPES):
            began = time.monotonic()
            with urllib.request.urlopen(self._nodes[0].metrics, timeout=30) as page:
                size = len(page.read())
            times.append(time.monotonic() - began)
        return statistics.median(times), size / 1024

    async def revoke(self, state: Path, token: str) -> list[float]:
        """Seconds from the end of the command to the first, half and last share that ended."""
        asking = asyncio.create_task(self._fleet.say("ended"), name="ended")
        await asyncio.to_thread(
            ask, vrelay("token", "revoke", token, "--json", "--state-dir", str(state))
        )
        began = time.monotonic()
        answers = await asking
        times = {key: [float(str(each[key])) for each in answers] for key in answers[0]}
        first, half, last = min(times["first"]), statistics.mean(times["half"]), max(times["last"])
        return [max(0.0, each - began) for each in (first, half, last)]


def _list(value: object) -> list[object]:
    assert isinstance(value, list)
    return value


async def measure(shares: int, nodes_count: int, visitors: int = VISITS) -> Figures:
    """All phases, one after another."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="relay-load-")))
        make_names(folder, shares)
        token, secret = make_token(folder, shares)
        nodes = stack.enter_context(running_nodes(folder, nodes_count))
        await asyncio.to_thread(
            wait_until, lambda: all(map(is_ready, nodes)), "ready", READY_WITHIN
        )
        per_node = shares // nodes_count
        some = max(2, min(shares, (most - SPARE_FILES - per_node) * nodes_count))
        tiny = stack.enter_context(fleet(nodes, shares, 1, secret))
        processes = max(2, nodes_count)
        load = Load(nodes, tiny)
        start, took, registered = await load.register()
        say(f"{shares} shares registered in {took:.0f} s")
        routes, full = await load.park(some, processes)
        parked = sum(map(len, routes)) // nodes_count
        say(f"{sum(map(len, routes))} of them have a parked connection")
        await asyncio.sleep(5 * SETTLE)
        idle = load.see()
        visits, lookup_cpu = await load.look_up(routes, visitors)
        say(f"{visitors} visitors came")
        scrape, scrape_kb = await asyncio.to_thread(load.scrape)
        first, half, last = await load.revoke(folder, token)
        return Figures(
            nodes=nodes_count,
            shares=shares,
            parked=sum(map(len, routes)),
            open_files=most,
            register_per_s=shares / took,
            register_cpu_ms=(registered.cpu - start.cpu) / per_node * 1000,
            kb_per_share=(registered.kb - start.kb) / per_node,
            kb_per_parked=(full.kb - registered.kb) / max(1, parked),
            mb_of_node=full.kb / 1024,
            idle_cpu_percent=(idle.cpu - full.cpu) / (idle.at - full.at) * 100,
            lookup_per_s=visits.per_second,
            lookup_cpu_ms=lookup_cpu,
            lookup_p50_ms=_percentile(visits, 50),
            lookup_p99_ms=_percentile(visits, 99),
            lookups_failed=visits.failed,
            scrape_ms=scrape * 1000,
            scrape_kb=scrape_kb,
            revoke_first_s=first,
            revoke_half_s=half,
            revoke_last_s=last,
        )


def say(text: str) -> None:
    """What goes on, for who waits."""
    print(text, file=sys.stderr, flush=True)


def _percentile(visits: Visits, percent: int) -> float:
    return statistics.quantiles(visits.seconds, n=100)[percent - 1] * 1000


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--shares", type=int, default=SHARES)
    parser.add_argument("--parked", type=int, default=1, help=argparse.SUPPRESS)
    parser.add_argument("--nodes", type=int, default=1, help="relays; several are a cluster")
    parser.add_argument("--visits", type=int, default=VISITS)
    parser.add_argument("--json", action="store_true")
    for hidden in ("--as-shares", "--token-file", "--source"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    parser.add_argument("--first", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    raise_open_files_limit()
    if options.as_shares:
        owned = Owned(options.first, Path(options.token_file).read_text().strip())
        relay = parse_relay(options.as_shares)
        run_shares(relay, options.shares, options.parked, options.source, owned)
        return
    figures = asdict(asyncio.run(measure(options.shares, options.nodes, options.visits)))
    if options.json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        print(f"{name:20} {value:12,.2f}" if isinstance(value, float) else f"{name:20} {value:12,}")


if __name__ == "__main__":
    main()
