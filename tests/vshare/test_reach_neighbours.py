from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from tests.vshare import neighbour_net

ALONE = ("unshare", "--user", "--map-root-user", "--net", "--mount")


@pytest.mark.programs
def test_a_host_a_machine_and_its_neighbours() -> None:
    """Real addresses, and names whose addresses change, in a network of their own."""
    if not shutil.which("ip") or subprocess.run([*ALONE, "true"], check=False).returncode:
        pytest.skip("this user may not make network namespaces")
    command = [*ALONE, sys.executable, "-W", "error", "-m", neighbour_net.__name__]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
