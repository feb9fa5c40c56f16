"""The load test, with few shares."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.programs

ROOT = Path(__file__).resolve().parent.parent.parent


def test_all_phases_at_three_relays_together() -> None:
    words = ["--json", "--shares", "12", "--visits", "30", "--nodes", "3"]
    command = [sys.executable, "-m", "bench.relay_load", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["nodes"], found["shares"], found["parked"]) == (3, 12, 12)
    assert found["lookups_failed"] == 0
    assert found["register_per_s"] > 0
    assert found["scrape_kb"] > 3
    assert 0 <= found["revoke_first_s"] <= found["revoke_last_s"] < 30
