"""`python -m tests.again ARGUMENT...`: pytest, and what failed once more, alone.

For tests that run real programs in real time, on a machine of which nothing is known: what else
runs there can make any of them late. A few that fail get a second try with nothing beside them,
and the output names them, so that somebody looks into each; many are a defect, and fail at once.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

FEW = 3
TESTS_FAILED = 1  # pytest's exit code: some failed; others mean that it could not run
IN_PARALLEL = ("-n", "--dist")  # options of pytest-xdist's, with a value each


def main(arguments: Sequence[str]) -> int:
    """Give the exit code of what was run last."""
    with tempfile.TemporaryDirectory(prefix="vshare-tests-") as folder:
        pytest = [sys.executable, "-m", "pytest", "-o", f"cache_dir={folder}"]
        code = subprocess.run([*pytest, *arguments], check=False).returncode
        if code != TESTS_FAILED:
            return code
        failed = failed_tests(Path(folder))
        print(f"\nfailed beside others: {len(failed)}", *failed, sep="\n  ", flush=True)
        if not 0 < len(failed) <= FEW:
            return code
        print("once more, alone:", flush=True)
        return subprocess.run([*pytest, "--last-failed", *alone(arguments)], check=False).returncode


def failed_tests(cache: Path) -> list[str]:
    """What failed in the run that wrote this cache of pytest's."""
    last = cache / "v" / "cache" / "lastfailed"
    return sorted(json.loads(last.read_text())) if last.exists() else []


def alone(arguments: Sequence[str]) -> list[str]:
    """The same without running in parallel."""
    kept = []
    values = iter(arguments)
    for each in values:
        if each in IN_PARALLEL:
            next(values, None)
        else:
            kept.append(each)
    return kept


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
