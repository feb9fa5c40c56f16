"""A copy of the source to break, and pytest in it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.mutations.here import PACKAGES
from tests.mutations.mutation import Mutation, StaleError, mutated, read

ROOT = Path(__file__).resolve().parent.parent.parent
BESIDE = ("setup.cfg", "pyproject.toml")  # pytest's settings
WITHIN = 90.0  # seconds for the tests of one mutation; a test of ours ends itself after 20
MAX_SHOWN = 2000  # characters of pytest's output


def sources(root: Path) -> list[str]:
    """The files that make up the source, as git knows them. Raises StaleError."""
    listed = subprocess.run(
        [
            "git",
            "-c",
            "safe.directory=*",
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
            *sorted(PACKAGES),
        ],
        cwd=root,
        capture_output=True,
        check=False,
    )
    names = os.fsdecode(listed.stdout).split("\0")
    found = [name for name in names if name and (root / name).is_file()]
    if listed.returncode or not found:
        raise StaleError(f"git does not list {root}: {os.fsdecode(listed.stderr).strip()}")
    return [*found, *BESIDE]


def copy_source(names: Iterable[str], source: Path, target: Path) -> None:
    """The files `names` of `source` in `target`."""
    for name in names:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source / name, target / name)


class Copy:
    """One copy, in which one process at a time runs pytest."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def run(self, tests: Sequence[str]) -> tuple[int, str]:
        """pytest's exit status and the end of its output."""
        command = [sys.executable, "-m", "pytest", "-x", "-q", "--tb=short", "--no-header"]
        command += ["-p", "no:cacheprovider", "-p", "tests.mutations.here"]
        environment = {
            key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")
        }
        environment["PYTHONPATH"] = str(self.root)
        environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # a second less for each
        try:
            done = subprocess.run(
                [*command, *tests],
                cwd=self.root,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=WITHIN,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise StaleError(f"no end within {WITHIN:g} s: take a test that fails soon") from None
        return done.returncode, done.stdout.decode("utf-8", "replace")[-MAX_SHOWN:]

    def run_mutated(self, mutation: Mutation) -> tuple[int, str]:
        """As `run`, with the defence taken away. Raises StaleError."""
        source = read(self.root, mutation)
        path = self.root / mutation.file
        path.write_text(mutated(mutation, source), encoding="utf-8")
        try:
            _forget_bytecode(path)
            return self.run(mutation.tests)
        finally:
            path.write_text(source, encoding="utf-8")
            _forget_bytecode(path)


def _forget_bytecode(path: Path) -> None:
    """It is told by the second and the size, which two mutations may have in common."""
    for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
        compiled.unlink()
