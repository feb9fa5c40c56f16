"""Applications from PyPI and npm, installed once each into .tox/apps, as the machine is set up.

Where no registry answers, the test that asks is skipped.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

CACHE = Path(__file__).resolve().parent.parent.parent / ".tox" / "apps"
WITHIN = 60.0  # seconds to install one; JupyterLab takes 30, the others less than 10
DONE = "installed"  # a file that is written last


def from_pypi(name: str, *requirements: str) -> Path:
    """The folder of the programs of a virtualenv that has these."""

    def install(folder: Path) -> None:
        _run([sys.executable, "-m", "venv", str(folder)])
        pip = [str(folder / "bin/python"), "-m", "pip", "install", "-q"]
        _run([*pip, "--disable-pip-version-check", *requirements])

    return _installed(name, "\n".join(requirements), install) / "bin"


def from_npm(name: str, package: str, node: Path) -> Path:
    """A folder with the text `package` as package.json, and what that needs. `node`: programs."""

    def install(folder: Path) -> None:
        folder.mkdir()
        (folder / "package.json").write_text(package)
        quiet = ["--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"]
        _run([str(node / "npm"), "install", *quiet], cwd=folder, env=path_with(node))

    return _installed(name, package, install)


def path_with(folder: Path) -> dict[str, str]:
    """An environment where the programs of a folder come first."""
    return {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}


def _installed(name: str, wanted: str, install: Callable[[Path], None]) -> Path:
    folder = CACHE / name
    with _locked(name):
        stamp = folder / DONE
        if not stamp.exists() or stamp.read_text() != wanted:
            shutil.rmtree(folder, ignore_errors=True)
            try:
                install(folder)
            except subprocess.TimeoutExpired:
                pytest.skip(f"{name} is not installed in {WITHIN:g} s")
            except subprocess.CalledProcessError as error:
                words = [line for line in error.stderr.splitlines() if "rror" in line][-1:]
                pytest.skip(f"{name} cannot be installed: {''.join(words)[:200]}")
            stamp.write_text(wanted)
    return folder


@contextmanager
def _locked(name: str) -> Iterator[None]:
    """Tests run side by side."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _run(
    command: Sequence[str], cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> None:
    subprocess.run(
        command, cwd=cwd, env=env, check=True, capture_output=True, text=True, timeout=WITHIN
    )
