"""Processes that were started: what they take, and their end."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bench.processes import (
    Process,
    StartError,
    cpu_seconds,
    descent,
    end,
    family,
    memory_kb,
    runs,
)

pytestmark = pytest.mark.programs

ROOT = Path(__file__).resolve().parent.parent.parent
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


def test_orphans_are_ended_but_not_who_has_their_number_now(tmp_path: Path) -> None:
    """As sshd's sessions are, when the client is ended before sshd."""
    source = "import os, time\nos.fork()\nos.write(1, b'%d\\n' % os.getpid())\ntime.sleep(60)"
    process = python(tmp_path, source)
    pids = {int(process.line()), int(process.line())}
    known = descent([process])
    assert {pid for pid, _ in known} == pids
    process.popen.kill()
    process.popen.wait()
    (orphan,) = pids - {process.popen.pid}
    end({(pid, "0") for pid in pids})
    assert runs(orphan)
    end(known)
    assert not runs(orphan)
    process.stop()


_SIGNALLED = """
import contextlib, os, pathlib, signal, sys
from bench import processes

def and_a_signal(*arguments, start=processes.Process):
    found.append(start(*arguments))
    os.kill(os.getpid(), signal.SIGTERM)
    return found[0]

found = []
processes.end_on_signals()
processes.Process = and_a_signal
try:
    with contextlib.ExitStack() as stack:
        processes.started(stack, ["sleep", "60"], pathlib.Path(sys.argv[1]))
        print("went on")
finally:
    print(processes.runs(found[0].popen.pid))
"""


def test_what_is_being_started_when_a_signal_comes_is_ended(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _SIGNALLED, str(tmp_path / "log")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (143, "False\n", "")


def test_a_program_that_ends_is_told_with_its_words(tmp_path: Path) -> None:
    process = python(tmp_path, "import sys\nsys.exit('no such thing')")
    with pytest.raises(StartError, match="no such thing"):
        process.line()
    process.stop()


def test_much_output_does_not_stop_a_program(tmp_path: Path) -> None:
    process = python(tmp_path, "print('x' * 1_000_000)\nimport sys\nsys.exit(3)")
    assert process.popen.wait(20) == 3
    process.stop()
