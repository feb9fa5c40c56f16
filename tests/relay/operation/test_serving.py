"""`vrelay serve` as an operator's programs see it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

pytestmark = pytest.mark.programs

WAIT = 30.0  # seconds


def test_from_the_first_line_to_the_last(tmp_path: Path) -> None:
    words = ["--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0", "--log-format", "json"]
    command = [sys.executable, "-m", "relay.cli", "serve", "--json", *words]
    with subprocess.Popen(
        [*command, "--state-dir", str(tmp_path / "state")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            port = json.loads(process.stdout.readline())["metrics_port"]
            for path in ("metrics", "healthz", "readyz"):
                with urllib.request.urlopen(
                    f"http://127.0.0.1:{port}/{path}", timeout=WAIT
                ) as page:
                    assert page.status == 200
            process.send_signal(signal.SIGTERM)
            _, said = process.communicate(timeout=WAIT)
        finally:
            process.kill()
    assert process.returncode == 0
    events = [json.loads(line)["event"] for line in said.splitlines()]
    assert [each for each in events if each != "other"] == ["serving", "draining", "stopped"]
