import re
import shutil
import subprocess
import sys
from pathlib import Path, PurePath

import pytest

from relay.service_unit import STATE, unit_text

EXPOSURE = 2.5  # of 10, as `systemd-analyze security` counts; below 2 it calls a service well kept


def test_what_the_unit_says() -> None:
    text = unit_text("/usr/bin/python3", PurePath("/etc/vshare/relay.toml"), STATE, 20.0)
    assert "StateDirectory=vrelay\n" in text
    assert '"serve" "--config" "/etc/vshare/relay.toml"' in text
    assert "TimeoutStopSec=35\n" in text
    assert "ProtectHome=yes" in text
    assert "AmbientCapabilities=CAP_NET_BIND_SERVICE" in text
    text = unit_text("/home/a/venv/bin/python", PurePath('/e/%i"$x'), PurePath("/srv/a b"), 0)
    assert 'ReadWritePaths="/srv/a b"\n' in text
    assert "StateDirectory" not in text
    assert "ProtectHome=read-only" in text
    assert '"/e/%%i\\"$$x"' in text


@pytest.mark.programs
@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="there is no systemd")
def test_systemd_understands_it_and_finds_it_well_kept(tmp_path: Path) -> None:
    path = tmp_path / "vrelay.service"
    path.write_text(unit_text(sys.executable, PurePath("/etc/vshare/relay.toml"), STATE, 10.0))
    command = ["systemd-analyze", "verify", str(path)]
    verified = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    ours = [line for line in verified.stderr.splitlines() if "vrelay" in line]
    assert not [line for line in ours if "not executable" not in line]
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", str(path)]
    looked = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    found = re.search(r"exposure level for vrelay.service: (\d+\.\d+)", looked.stdout)
    if found is None:
        pytest.skip("this systemd-analyze looks at units that are loaded alone")
    assert float(found[1]) <= EXPOSURE
