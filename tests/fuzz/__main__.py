"""`python -m tests.fuzz`: every parser, many inputs; docs/fuzzing.md.

Exit status 1 when something new was found; the input is then in tests/fuzz/corpus/.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import math
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator

from tests.fuzz import corpus
from tests.fuzz.known import KNOWN
from tests.fuzz.runner import Result
from tests.fuzz.shards import shard
from tests.fuzz.targets.every import EVERY

SHARD = 250_000  # inputs of one process; then another begins with the same seeds


def jobs_of(
    names: list[str], arguments: argparse.Namespace
) -> Iterator[tuple[str, str, int | None, float | None]]:
    """What the processes do: each target in shards, or each for its part of the time."""
    for name in names:
        if arguments.seconds is not None:
            yield name, arguments.seed, None, arguments.seconds * arguments.jobs / len(names)
            continue
        left = max(1, math.ceil(arguments.inputs * EVERY[name].share))
        number = 0
        while left > 0:
            yield name, f"{arguments.seed}.{number}", min(SHARD, left), None
            left -= SHARD
            number += 1


def report(results: dict[str, Result], asked: int | None) -> int:
    """Print a line per target and what was found; returns the exit status."""
    status = 0
    print(
        f"{'target':22}{'inputs':>10}{'inputs/s':>10}{'kept':>6}{'steps':>7}{'slowest':>9}  found"
    )
    for name, result in sorted(results.items()):
        new = [key for key in result.failures if key not in KNOWN.get(name, {})]
        found = f"{len(new)} new, {len(result.failures) - len(new)} known"
        rate = result.inputs / result.seconds if result.seconds else 0
        print(
            f"{name:22}{result.inputs:10,}{rate:10,.0f}{result.kept:6}{result.lines:7}"
            f"{result.slowest * 1000:6.0f} ms  {found if result.failures else '-'}"
        )
        for key in result.failures:
            failure = result.failures[key]
            path = corpus.keep(name, failure.data)
            if key in new:
                status = 1
                after = f"after {failure.after[0]:,} inputs, {failure.after[1]:.1f} s"
                print(f"\n{name}: {key}\n  {after}; {path}\n  {failure.data[:200].hex()}")
                print(f"{failure.text}\n")
    print(f"{sum(each.inputs for each in results.values()):,} inputs")
    for name in sorted(results):
        if asked is not None and EVERY[name].share < 1:
            print(f"{name} had {results[name].inputs:,} of {asked:,} inputs: {EVERY[name].slow}")
    return status


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000, help="per target")
    parser.add_argument("--seconds", type=float, help="for all targets together, in place of it")
    parser.add_argument("--target", action="append", choices=sorted(EVERY), metavar="NAME")
    parser.add_argument("--seed", default="1", help="another one gives other inputs")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--list", action="store_true", help="print the targets' names")
    arguments = parser.parse_args()
    names = arguments.target or list(EVERY)
    if arguments.list:
        print(*names, sep="\n")
        return 0
    began = time.monotonic()
    results: dict[str, Result] = {}
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(
        arguments.jobs, context, max_tasks_per_child=1
    ) as pool:
        for result in pool.map(shard, *zip(*jobs_of(names, arguments), strict=True)):
            if result.target in results:
                results[result.target].add(result)
            else:
                results[result.target] = result
            done = results[result.target]
            text = f"{done.target}: {done.inputs:,} inputs, {len(done.failures)} found"
            print(text, file=sys.stderr, flush=True)
    status = report(results, None if arguments.seconds is not None else arguments.inputs)
    print(f"{time.monotonic() - began:.0f} s with {arguments.jobs} processes")
    return status


if __name__ == "__main__":
    sys.exit(main())
