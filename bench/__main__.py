"""`python -m bench`: every figure, for this project and for what people would use instead."""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from bench import elsewhere, figures
from bench.figures import LoadError, Setup
from bench.ours import ROOT, Ours
from bench.peers.chisel import ChiselBoth, ChiselPublic
from bench.peers.frp import FrpPublic, FrpStcp
from bench.peers.ssh import SshEndToEnd, SshEndToEndGcm, SshPublic
from bench.peers.stunnel import Stunnel
from bench.processes import StartError, end_on_signals, started, unbroken
from bench.results import Result, Samples, serialize
from bench.system import Kind, Loopback, System
from bench.table import render
from bench.units import FIGURES
from tunnel.errors import VshareError

PEERS = (
    *(Loopback, SshEndToEndGcm, SshEndToEnd, Stunnel, FrpStcp, ChiselBoth),
    *(SshPublic, FrpPublic, ChiselPublic),
)
RESULTS = Path(__file__).parent / "results.json"
ROUNDS, SECONDS = 3, 2.0
QUICK_ROUNDS, QUICK_SECONDS = 2, 0.4
SLOW_PEERS = (SshEndToEnd,)  # left out by --quick: its sibling with the faster cipher stays
NOT_QUICK = ("moving", "resume", *elsewhere.ALL)
PAUSE = 0.1  # seconds between figures, for what the last one left to be done


class Run:
    """A target, systems under way, and what was measured."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.samples = Samples()
        self.systems: dict[str, tuple[System, Callable[[], System]]] = {}

    def start(self, makers: Sequence[Callable[[], System]]) -> None:
        """Start what can be started; say what cannot."""
        for make in makers:
            system = make()
            self.systems[system.name] = system, make
            try:
                system.start()
            except (StartError, OSError, subprocess.SubprocessError) as error:
                say(f"{system.name}: left out: {error}")
                del self.systems[system.name]

    def stop(self) -> None:
        """End everything."""
        with unbroken(), contextlib.ExitStack() as stack:
            for system, _ in self.systems.values():
                stack.callback(system.stop)

    def measure(self, chosen: Sequence[str], rounds: int) -> None:
        """Round by round, figure by figure; who begins rotates."""
        turn = 0
        for number in range(rounds):
            for figure in chosen:
                say(f"round {number + 1} of {rounds}: {figure}")
                names = list(self.systems)
                first = turn % len(names)
                for name in names[first:] + names[:first]:
                    self._take(figure, name)
                turn += 1

    def take_elsewhere(self, chosen: Sequence[str]) -> None:
        """What this project has alone."""
        for name in chosen:
            say(name)
            try:
                for figure, value in elsewhere.ALL[name]():
                    self.samples.add(figure, Ours.name, value)
            except (LoadError, VshareError, OSError) as error:
                say(f"{name}: {error}")

    def results(self) -> list[Result]:
        """What is known so far."""
        return self.samples.results({name: each.unit for name, each in FIGURES.items()})

    def _take(self, figure: str, name: str) -> None:
        system, fresh = self.systems[name]
        try:
            found = figures.ALL[figure](Setup(system, fresh, self.seconds))
        except (LoadError, StartError, subprocess.SubprocessError) as error:
            say(f"{name}: {figure}: {error}")
            return
        for each, value in found.items():
            self.samples.add(each, name, value)
        time.sleep(PAUSE)


def say(text: str) -> None:
    """The story, on stderr."""
    print(text, file=sys.stderr, flush=True)


def header() -> list[str]:
    """What the figures depend on."""
    congestion = Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text().strip()
    return [
        f"kernel {platform.release()}, {congestion}, {os.cpu_count()} cores, "
        f"Python {platform.python_version()}",
        *(version(command) for command in VERSIONS if shutil.which(command[0])),
    ]


VERSIONS = (
    ["ssh", "-V"],
    ["stunnel", "-version"],
    ["haproxy", "-v"],
    ["wrk", "-v"],
    ["chisel", "--version"],
    ["frps", "--version"],
)


def version(command: Sequence[str]) -> str:
    """The first line that names a version."""
    done = subprocess.run(command, capture_output=True, text=True)
    lines = [
        line for line in (done.stdout + done.stderr).splitlines() if any(map(str.isdigit, line))
    ]
    return f"{command[0]}: {lines[0].strip()}" if lines else command[0]


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="shorter loads, two rounds")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=float, help="of one load")
    parser.add_argument("--figures", help=f"of {','.join((*figures.ALL, *elsewhere.ALL))}")
    parser.add_argument("--systems", help="names or parts of names; this project is always there")
    parser.add_argument("--tree", type=Path, default=ROOT, help="the source that is measured")
    parser.add_argument("--also", action="append", default=[], metavar="NAME=TREE",
                        help="another source tree, measured beside it")  # fmt: skip
    parser.add_argument("--results", type=Path, default=RESULTS)
    return parser.parse_args()


def makers(options: argparse.Namespace, tcp: int, udp: int) -> list[Callable[[], System]]:
    """How to make each system that was asked for and can be had."""
    found: list[Callable[[], System]] = [partial(Ours, tcp, udp, options.tree.resolve())]
    for word in options.also:
        name, _, tree = word.partition("=")
        found.append(partial(another, name, tcp, udp, Path(tree).resolve()))
    wanted = options.systems.split(",") if options.systems is not None else [""]
    for peer in PEERS:
        if options.quick and options.systems is None and peer in SLOW_PEERS:
            continue
        if not any(word in peer.name for word in wanted):
            continue
        if missing := [each for each in peer.needs if not shutil.which(each)]:
            say(f"{peer.name}: left out: no {', '.join(missing)}")
            continue
        found.append(partial(peer, tcp, udp))
    return found


def another(name: str, tcp: int, udp: int, tree: Path) -> System:
    """This project from another source tree, under another name."""
    system = Ours(tcp, udp, tree)
    system.name = name
    return system


def main() -> None:
    """Measure, print, write."""
    options = arguments()
    end_on_signals()
    os.chdir(ROOT)
    rounds = options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS)
    run = Run(options.seconds or (QUICK_SECONDS if options.quick else SECONDS))
    chosen = (
        options.figures.split(",") if options.figures else [*figures.ALL, *elsewhere.available()]
    )
    if options.quick and not options.figures:
        chosen = [name for name in chosen if name not in NOT_QUICK]
    before = os.getloadavg()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, contextlib.ExitStack() as stack:
        command = [sys.executable, "-m", "bench.target"]
        target = started(stack, command, Path(folder, "target.log"))
        stack.callback(run.stop)
        tcp, udp = map(int, target.line().split())
        run.start(makers(options, tcp, udp))
        run.measure([name for name in chosen if name in figures.ALL], rounds)
    options.results.write_text(serialize(run.results()))  # what follows takes minutes
    run.take_elsewhere([name for name in chosen if name in elsewhere.ALL])
    results = run.results()
    groups = {
        kind.value: [name for name, (system, _) in run.systems.items() if system.kind is kind]
        for kind in (Kind.END_TO_END, Kind.PER_HOP, Kind.PUBLIC)
    }
    after = os.getloadavg()
    print("\n".join(header()))
    print(f"load before {before[0]:.1f}, after {after[0]:.1f}; {rounds} rounds\n")
    print(render(results, Ours.name, {kind: names for kind, names in groups.items() if names}))
    options.results.write_text(serialize(results))


if __name__ == "__main__":
    main()
