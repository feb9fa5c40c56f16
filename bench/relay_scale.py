"""How many idle shares one relay holds: memory, pings, registrations and visits per second.

`python -m bench.relay_scale [--shares N] [--parked N]` starts a real `vrelay serve` and, in
processes of their own, simulated shares (bench/tiny_shares.py) that speak the real protocol: a
WebSocket over TLS, a signed registration, parked connections with their TLS begun and ended.
What is said of memory is the relay process's own (Pss, proc(5) smaps_rollup); the kernel's is
told apart, as half of what all sockets of both sides took.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from bench.tiny_shares import Visits, run_shares, visit_routes
from tunnel.address import parse_relay
from tunnel.open_files import raise_open_files_limit

SHARES = 1_000
PARKED = 2  # of each share
PROCESSES = 2  # that simulate shares
IDLE_FOR = 21.0  # seconds: each parked connection and each channel is pinged once
VISITS = 2_000
VISITORS = 32  # at once
SETTLE = 1.5  # seconds until what a phase left behind is cleaned up


@dataclass
class Figures:
    """What is printed, and with --json one object."""

    shares: int
    parked: int
    registrations_per_s: float
    registration_cpu_ms: float
    parkings_per_s: float
    parking_cpu_ms: float
    kb_start: float
    kb_per_share: float
    kb_per_parked: float
    kb_kernel_per_connection: float
    mb_in_all: float
    idle_cpu_percent: float
    visits_per_s: float
    visit_cpu_ms: float
    visit_p50_ms: float
    visit_p99_ms: float
    visits_failed: int
    mb_after_visits: float


def kb_of(pid: int) -> float:
    """Memory of a process, in kB."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return float(line.split()[1])
    raise RuntimeError("no Pss in smaps_rollup")


def kb_of_kernel() -> float:
    """Memory of the kernel's own objects and of socket buffers, in kB."""
    lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    pages = 0
    for line in Path("/proc/net/sockstat").read_text().splitlines():
        if line.startswith("TCP:"):
            pages = int(line.split()[-1])
    return float(lines["Slab"].split()[0]) + pages * os.sysconf("SC_PAGE_SIZE") / 1024


def cpu_of(pid: int) -> float:
    """CPU time of a process so far, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def relay_process() -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`vrelay serve` on a free port of loopback, and its address."""
    with tempfile.TemporaryDirectory(prefix="relay-scale-") as folder:
        command = [sys.executable, "-m", "relay.cli", "serve", "--json", "--listen", "127.0.0.1:0"]
        with subprocess.Popen(
            [*command, "--state-dir", folder], stdout=subprocess.PIPE, text=True
        ) as relay:
            try:
                assert relay.stdout is not None
                yield relay, json.loads(relay.stdout.readline())["relay"]
            finally:
                relay.terminate()


class Fleet:
    """The processes that simulate shares; each is told a word and answers with a line."""

    def __init__(self, processes: list[subprocess.Popen[str]]) -> None:
        self._processes = processes

    async def say(self, word: str) -> list[dict[str, object]]:
        """Tell all of them and collect the answers."""
        for process in self._processes:
            assert process.stdin is not None
            print(word, file=process.stdin, flush=True)
        return [await asyncio.to_thread(_answer, process.stdout) for process in self._processes]


def _answer(stream: IO[str] | None) -> dict[str, object]:
    assert stream is not None
    line = stream.readline()
    if not line:
        raise RuntimeError("a process of simulated shares has ended")
    found: dict[str, object] = json.loads(line)
    return found


@contextlib.contextmanager
def fleet(address: str, shares: int, parked: int) -> Iterator[Fleet]:
    """Simulated shares, ready to be told to register."""
    processes = []
    with contextlib.ExitStack() as stack:
        for number in range(PROCESSES):
            count = shares // PROCESSES + (number < shares % PROCESSES)
            options = ["--as-shares", address, "--shares", str(count), "--parked", str(parked)]
            options += ["--source", f"127.0.{number + 1}"]
            process = subprocess.Popen(
                [sys.executable, "-m", "bench.relay_scale", *options],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            stack.callback(process.wait)
            stack.callback(process.terminate)
            processes.append(process)
        yield Fleet(processes)


@dataclass(frozen=True, slots=True)
class Sight:
    """A relay process at one moment."""

    at: float
    cpu: float
    kb: float
    kernel_kb: float

    @classmethod
    def of(cls, pid: int) -> Sight:
        """As it is now."""
        return cls(time.monotonic(), cpu_of(pid), kb_of(pid), kb_of_kernel())


async def measure(shares: int, parked: int) -> Figures:
    """All phases, one after another."""
    with relay_process() as (relay, address), fleet(address, shares, parked) as all_shares:

        async def see(settle: float = SETTLE) -> Sight:
            await asyncio.sleep(settle)
            return Sight.of(relay.pid)

        await all_shares.say("warm")  # one share of each process comes, parks, and goes
        start = await see()
        routes = [route for each in await all_shares.say("register") for route in _list(each)]
        registered = await see()
        there = sum(_number(each) for each in await all_shares.say("park"))
        full = await see()
        idle = await see(IDLE_FOR)
        visits = await visit_routes(parse_relay(address), routes, VISITS, VISITORS)
        visited = await see()
        return Figures(
            shares=len(routes),
            parked=there,
            registrations_per_s=len(routes) / (registered.at - start.at - SETTLE),
            registration_cpu_ms=(registered.cpu - start.cpu) / len(routes) * 1000,
            parkings_per_s=there / (full.at - registered.at - SETTLE),
            parking_cpu_ms=(full.cpu - registered.cpu) / max(there, 1) * 1000,
            kb_start=start.kb,
            kb_per_share=(registered.kb - start.kb) / len(routes),
            kb_per_parked=(full.kb - registered.kb) / max(there, 1),
            kb_kernel_per_connection=(full.kernel_kb - start.kernel_kb) / (len(routes) + there) / 2,
            mb_in_all=full.kb / 1024,
            idle_cpu_percent=(idle.cpu - full.cpu) / (idle.at - full.at) * 100,
            visits_per_s=visits.per_second,
            visit_cpu_ms=(visited.cpu - idle.cpu) / VISITS * 1000,
            visit_p50_ms=percentile(visits, 50),
            visit_p99_ms=percentile(visits, 99),
            visits_failed=visits.failed,
            mb_after_visits=visited.kb / 1024,
        )


def percentile(visits: Visits, percent: int) -> float:
    """Of the times that visits took, in milliseconds."""
    return statistics.quantiles(visits.seconds, n=100)[percent - 1] * 1000


def _list(answer: dict[str, object]) -> list[str]:
    routes = answer["routes"]
    assert isinstance(routes, list)
    return routes


def _number(answer: dict[str, object]) -> int:
    parked = answer["parked"]
    assert isinstance(parked, int)
    return parked


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--shares", type=int, default=SHARES)
    parser.add_argument("--parked", type=int, default=PARKED, help="connections of each share")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--as-shares", metavar="RELAY", help=argparse.SUPPRESS)
    parser.add_argument("--source", default="127.0.1", help=argparse.SUPPRESS)
    options = parser.parse_args()
    raise_open_files_limit()
    if options.as_shares:
        run_shares(parse_relay(options.as_shares), options.shares, options.parked, options.source)
        return
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if options.shares * (1 + options.parked) > most:
        print(f"warning: {most} open files are not enough for that many", file=sys.stderr)
    figures = asyncio.run(measure(options.shares, options.parked))
    if options.json:
        print(json.dumps(asdict(figures)))
        return
    for name, value in asdict(figures).items():
        print(f"{name:26} {value:12,.1f}" if isinstance(value, float) else f"{name:26} {value:12,}")


if __name__ == "__main__":
    main()
