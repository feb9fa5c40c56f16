"""Processes that were started: what they take, and their end."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bench.processes import Process, StartError, cpu_seconds, family, memory_kb, runs

pytestmark = pytest.mark.programs

BUSY = "import time\nend = time.process_time() + 0.2\nwhile time.process_time() < end: pass\n"


def python(tmp_path: Path, source: str) -> Process:
    return Process([sys.executable, "-c", source], tmp_path / "log")


def test_cpu_of_children_counts_living_or_dead(tmp_path: Path) -> None:
    source = f"import os, sys\nif not os.fork():\n {BUSY!r} and exec({BUSY!r}); os._exit(0)\n"
    process = python(tmp_path, source + "os.wait()\nprint('done', flush=True)\nsys.stdin.read()")
    try:
        assert process.line() == b"done\n"
        assert cpu_seconds([process]) >= 0.19
        assert memory_kb([process]) > 1000
    finally:
        process.stop()


def test_stop_ends_the_children_too(tmp_path: Path) -> None:
    source = "import os, time\nos.fork()\nos.write(1, b'%d\\n' % os.getpid())\ntime.sleep(60)"
    process = python(tmp_path, source)
    pids = {int(process.line()), int(process.line())}
    assert set(family(process.popen.pid)) == pids
    process.stop()
    assert not any(runs(pid) for pid in pids)


def test_a_program_that_ends_is_told_with_its_words(tmp_path: Path) -> None:
    process = python(tmp_path, "import sys\nsys.exit('no such thing')")
    with pytest.raises(StartError, match="no such thing"):
        process.line()
    process.stop()


def test_much_output_does_not_stop_a_program(tmp_path: Path) -> None:
    process = python(tmp_path, "print('x' * 1_000_000)\nimport sys\nsys.exit(3)")
    assert process.popen.wait(20) == 3
    process.stop()
