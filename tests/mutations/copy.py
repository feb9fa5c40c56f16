"""A copy of the source to break, and pytest in it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Self

from tests.mutations.here import PACKAGES
from tests.mutations.mutation import Mutation, StaleError, mutated, read

ROOT = Path(__file__).resolve().parent.parent.parent
BESIDE = ("setup.cfg", "pyproject.toml")  # pytest's settings
WITHIN = 90  # seconds for the tests of one mutation; a test of ours ends itself after 20
ALL_WITHIN = 600  # seconds for all that are named, as the source is
MAX_SHOWN = 2000  # characters of pytest's output
WARM = Path(__file__).with_name("warm.py")


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
    """One copy, in which one process at a time runs pytest. A context manager: it keeps a process
    that has imported what is not ours (warm.py)."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._warm = subprocess.Popen(
            [sys.executable, "-P", os.fspath(WARM)],
            cwd=root,
            env=_environment(root),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._warm.communicate()

    def run(self, tests: Sequence[str], within: int = WITHIN) -> tuple[int, str]:
        """pytest's exit status and the end of its output. Raises StaleError: not `within` that."""
        options = ["-x", "-q", "--tb=short", "--no-header", "-p", "no:cacheprovider"]
        arguments = [*options, "-p", "tests.mutations.here", *tests]
        with tempfile.NamedTemporaryFile(prefix="vshare-mutation-") as output:
            job = {"arguments": arguments, "output": output.name, "within": within}
            assert self._warm.stdin
            assert self._warm.stdout
            self._warm.stdin.write(json.dumps(job) + "\n")
            self._warm.stdin.flush()
            answer = self._warm.stdout.readline()
            text = output.read()[-MAX_SHOWN:].decode("utf-8", "replace")
        if not answer:
            raise StaleError("what runs pytest ended")
        if int(answer) == -signal.SIGALRM:
            raise StaleError(f"no end within {within} s: take a test that fails soon")
        return int(answer), text

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


def _environment(root: Path) -> dict[str, str]:
    """For pytest in the copy at `root`."""
    ours = ("PYTEST_", "PYTHON")  # nobody's wish as to pytest, and bytecode is kept
    environment = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
    environment["PYTHONPATH"] = os.fspath(root)
    environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # a second less for each
    return environment


def _forget_bytecode(path: Path) -> None:
    """It is told by the second and the size, which two mutations may have in common."""
    for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
        compiled.unlink()
