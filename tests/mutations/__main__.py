"""`python -m tests.mutations`: take every defence away, and see that a test fails.

Exit status 1 when one was not missed, or the table does not fit the source any more.
"""

from __future__ import annotations

import argparse
import sys
import time

from tests.mutations.every import EVERY
from tests.mutations.mutation import StaleError
from tests.mutations.runner import PROCESSES, Outcome, Verdict, run


def show(outcome: Outcome) -> None:
    """A line; more where it matters."""
    mutation = outcome.mutation
    print(f"{outcome.verdict.value:9}{outcome.seconds:6.1f} s  {mutation.file}: {mutation.name}")
    if outcome.text:
        print("    " + outcome.text.strip().replace("\n", "\n    "))
    sys.stdout.flush()


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutations", description=__doc__)
    parser.add_argument("--only", action="append", metavar="NAME", help="names with this in them")
    parser.add_argument("--list", action="store_true", help="print the names")
    arguments = parser.parse_args()
    chosen = [
        each
        for each in EVERY
        if not arguments.only or any(part in f"{each.file}: {each.name}" for part in arguments.only)
    ]
    if arguments.list:
        print(*(f"{each.file}: {each.name}" for each in chosen), sep="\n")
        return 0
    began = time.monotonic()
    try:
        outcomes = run(chosen, show)
    except StaleError as error:
        print(error, file=sys.stderr)
        return 1
    caught = sum(outcome.verdict is Verdict.CAUGHT for outcome in outcomes)
    seconds = time.monotonic() - began
    print(f"{caught} of {len(outcomes)} caught, {seconds:.0f} s with {PROCESSES} processes")
    return 0 if caught == len(outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
