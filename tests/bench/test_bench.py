"""The bench from its command line: one figure, this project and one peer."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bench.peers.stunnel import Stunnel
from bench.processes import family, runs
from bench.results import parse

pytestmark = pytest.mark.programs

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.mark.parametrize("figure", ["stream"])
def test_one_figure(tmp_path: Path, figure: str) -> None:
    file = tmp_path / "results.json"
    options = ["--rounds", "1", "--seconds", "0.1", "--figures", figure, "--results", str(file)]
    command = [sys.executable, "-m", "bench", *options, "--systems", "stunnel"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, done.stderr
    results = {(each.figure, each.system): each for each in parse(file.read_text())}
    for system in ("vshare", Stunnel.name):
        if f"{system}: left out: no" in done.stderr:
            continue
        assert results["stream_up", system].median > 1
        assert results["cpu_per_gb", system].unit == "s/GB"
    assert "| `stream_down` | MB/s |" in done.stdout
    assert "kernel" in done.stdout


def test_ctrl_c_leaves_nothing(tmp_path: Path) -> None:
    options = ["--rounds", "9", "--figures", "rtt", "--results", str(tmp_path / "r")]
    command = [sys.executable, "-m", "bench", *options, "--systems", "stunnel,public"]
    with subprocess.Popen(
        command, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        while "round 1" not in process.stderr.readline():
            assert process.poll() is None
        pids = family(process.pid)
        assert len(pids) > 4
        process.terminate()
        process.communicate(timeout=30)
    assert process.returncode == 143
    assert not [pid for pid in pids if runs(pid)]
