"""`python -m tests.soak --minutes N`: exit 0 when nothing was violated, 1 otherwise."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

import click

from tests.lab import Lab
from tests.lab.root import run_as_root
from tests.soak import records, report, watch
from tests.soak.faults import Fault, Faults
from tests.soak.judge import RECOVERS, judge
from tests.soak.world import World, world
from tunnel.errors import VshareError

HOSTS = ("relay", "alice", "services", "bob")
MINUTE = 60.0  # seconds
SHORT_RUN = 10.0  # minutes; below, faults come quicker and none of them lasts
QUICKLY = 20.0  # seconds between faults in a short run
SETTLE = 12.0  # seconds before the first fault and after the last
TOLD_EVERY = 60.0  # seconds


@click.command()
@click.option("--minutes", default=30.0, show_default=True, help="How long, the start aside.")
@click.option("--seed", type=int, help="The dice of load and faults [random, and printed].")
@click.option("--no-vm", is_flag=True, help="Without the static IP, and so without psql.")
@click.option(
    "--recovers",
    default=RECOVERS,
    show_default=True,
    help="Seconds after which a new stream has to work; more on a machine that others use too.",
)
@click.option("--keep", type=click.Path(path_type=Path), help="Keep the records there.")
def main(minutes: float, seed: int | None, no_vm: bool, recovers: float, keep: Path | None) -> None:
    """A mixed load in the lab, a fault a minute; nothing may be lost or wrong."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    seed = random.SystemRandom().getrandbits(32) if seed is None else seed
    click.echo(f"seed {seed}: --seed {seed} draws the same load and the same faults")
    with Lab(HOSTS) as lab, world(lab, static_ip=not no_vm, ssh=True) as made:
        click.echo("all is up")
        sys.exit(_soak(made, minutes * MINUTE, seed, recovers, keep))


def _soak(made: World, seconds: float, seed: int, recovers: float, keep: Path | None) -> int:
    """The exit code."""
    before = made.pids()
    files = watch.count_files(before)
    began = time.monotonic()
    with made.load(seed) as (path, _), watch.Watch(made.pids) as watching:
        happened = _break_things(made, seconds, seed)
        ended = time.monotonic()
        click.echo("the load ends what it has begun")
    seen = records.read(path)
    if keep is not None:
        keep.write_bytes(path.read_bytes())
    verdict = judge(seen, happened, recovers)
    trends = watch.trends(watching.samples, began, ended)
    for trend in trends:
        verdict.violations.extend(trend.complaints())
    verdict.violations.extend(watch.rest(made.pids, files))
    after = made.pids()
    for name in ("vshare", "vshare ssh", "vconnect"):
        if before[name] != after.get(name) or made.programs[name].process.poll() is not None:
            verdict.violations.append(f"{name} did not live through it")
    for line in report.lines(seen, verdict, trends):
        click.echo(line)
    return 1 if verdict.violations else 0


def _break_things(made: World, seconds: float, seed: int) -> list[Fault]:
    """A fault every now and then, until the time is over."""
    quick = seconds < SHORT_RUN * MINUTE
    faults = Faults(made, random.Random(f"{seed} faults"))
    over = time.monotonic() + seconds
    next_at = time.monotonic() + SETTLE
    happened: list[Fault] = []
    cards = faults.deck(quick=quick)
    while next_at < over - SETTLE:
        time.sleep(max(0.0, next_at - time.monotonic()))
        cards = cards or faults.deck(quick=quick)
        fault = cards.pop()()
        happened.append(fault)
        click.echo(f"{time.strftime('%H:%M:%S')} {fault.name} ({fault.lasted:.1f} s)")
        next_at = max(next_at + (QUICKLY if quick else MINUTE), fault.returned + SETTLE)
    time.sleep(max(0.0, over - time.monotonic()))
    return happened


if __name__ == "__main__":
    if os.geteuid() != 0:
        run_as_root("tests.soak", sys.argv[1:])
    try:
        main(prog_name="tests.soak", standalone_mode=True)
    except VshareError as error:
        print(f"error: {error.text}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("interrupted: the lab is gone", file=sys.stderr)
        sys.exit(130)
