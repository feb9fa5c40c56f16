"""Settings for all tests."""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import re
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis.internal.conjecture import providers

# No deadline per example: a busy machine is no fault of the code. The same examples each time, so
# that a change is judged; `--hypothesis-profile thorough` looks for what is unknown.
settings.register_profile("vshare", deadline=None, max_examples=25, derandomize=True)
settings.register_profile("thorough", deadline=None, max_examples=1000)
settings.load_profile("vshare")
# Nor examples that depend on what numbers are in whatever was imported before: each process would
# read all of the source for them, which takes two seconds where nothing is remembered yet.
providers._get_local_constants = lambda: providers._local_constants

ROOT = Path(__file__).resolve().parent.parent
_DIRECTORIES = tempfile.TemporaryDirectory(prefix="vshare-")


def pytest_configure() -> None:
    """Shares that tests start leave their logs, keys and sockets elsewhere than the user's do,
    and nothing in the user's keyring."""
    os.environ["PYTHON_KEYRING_BACKEND"] = "keyring.backends.null.Keyring"
    for name in ("STATE_HOME", "RUNTIME_DIR"):
        folder = os.path.join(_DIRECTORIES.name, name.lower())
        os.mkdir(folder, 0o700)
        os.environ[f"XDG_{name}"] = folder


@pytest.fixture
def default_signals() -> Iterator[None]:
    """What a test starts takes Ctrl-C and a closed terminal as a program in the foreground does,
    also where the tests run under nohup(1) or in a script's background, which ignore them."""
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGHUP)}
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a child's is the default then
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def pytest_unconfigure() -> None:
    """Leave nothing."""
    _DIRECTORIES.cleanup()


_MARKS = re.compile(r"^pytestmark = (\[[^\]]*\]|.*)", re.MULTILINE)
_MARK = re.compile(r"pytest\.mark\.(\w+)")


def _is_left_out(path: Path, wanted: str) -> bool:
    """Whether all tests in a file have a mark that `-m` does not want: "not this and not that"."""
    marks = _MARKS.search(path.read_text(encoding="utf-8"))
    unwanted = set(wanted.split(" and "))
    return bool(marks and any(f"not {mark}" in unwanted for mark in _MARK.findall(marks[1])))


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """What is left out anyway is not imported: a fifth of all that is collected."""
    is_tests = collection_path.name.startswith("test_") and collection_path.suffix == ".py"
    return (is_tests and _is_left_out(collection_path, config.option.markexpr)) or None


_TOLD_WHEN_COLLECTED = (Exception, pytest.skip.Exception, pytest.fail.Exception)


def pytest_collection(session: pytest.Session) -> None:
    """Where several processes run all tests, each imports a part first: most of that time goes into
    rewriting a file's assertions, which one of them does and writes down for the others."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    if not worker or session.config.args != ["tests"]:
        return
    names = sorted(
        path.relative_to(ROOT)
        for path in (ROOT / "tests").rglob("test_*.py")
        if not _is_left_out(path, session.config.option.markexpr)
    )
    for name in names[int(worker[2:]) :: int(os.environ["PYTEST_XDIST_WORKER_COUNT"])]:
        with contextlib.suppress(*_TOLD_WHEN_COLLECTED):
            importlib.import_module(".".join(name.with_suffix("").parts))


def pytest_collection_finish() -> None:
    """Tests collect garbage to find what they leaked; what was imported need not be searched."""
    gc.collect()
    gc.freeze()


def pytest_runtest_setup() -> None:
    """Nor what earlier tests left for good (caches, reports): it was half of all CPU time."""
    gc.collect()
    gc.freeze()
