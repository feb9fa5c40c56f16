"""The demo as people run it: every way in, and its end by Ctrl-C."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lab import state

pytestmark = pytest.mark.e2e
DEMO = [sys.executable, "-m", "tests.demo"]
ROOT = Path(__file__).parent.parent.parent
CHECK_WITHIN = 420.0  # seconds; measured 100 to 200 with two cores, which emulate four machines
END_WITHIN = 30.0  # seconds


def test_every_way_in_works_and_nothing_is_left() -> None:
    done = subprocess.run(
        [*DEMO, "--check"], cwd=ROOT, capture_output=True, text=True, timeout=CHECK_WITHIN
    )
    print(done.stdout, done.stderr, sep="\n")
    last = done.stdout.splitlines()[-1:]
    assert last, "no output"
    assert last[0].endswith(" passed, 0 failed")
    assert not last[0].startswith("0 ")
    assert done.returncode == 0


def test_ctrl_c_while_it_starts_leaves_nothing() -> None:
    with subprocess.Popen(DEMO, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert "vagrant up" in process.stderr.readline()
        found = next(lab for lab in state.labs() if lab.owner.pid == process.pid)
        process.send_signal(signal.SIGINT)
        words = process.communicate(timeout=END_WITHIN)[1]
    assert words == "ended: machine, share and lab are gone\n"
    assert process.returncode == 0
    assert not found.folder.exists()
    assert not any(host.holder.alive() for host in found.hosts.values())
