"""`vagrant up` on a host of the lab: the demo machine, as a user would boot it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from tunnel.errors import VshareError

if TYPE_CHECKING:
    from tests.lab.host import Host

ROOT = Path(__file__).parent.parent.parent
VAGRANTFILE = ROOT / "Vagrantfile"
BOX = ROOT / "box/images/demo/vshare-demo.box"
BOX_NAME = "vshare-demo"
UP_WITHIN = 240.0  # seconds; measured 20 to 60 under emulation on two cores


def up(host: Host, vagrantfile: Path, box: Path) -> Path:
    """Copy the Vagrantfile to a folder of the host, add the box, boot; returns that folder."""
    for path in (vagrantfile, box):
        if not path.exists():
            raise VshareError(f"no file {path}", "build the images first: `make box`")
    folder = host.home / "demo"
    folder.mkdir()
    shutil.copy(vagrantfile, folder / "Vagrantfile")
    host.run(["vagrant", "box", "add", "--name", BOX_NAME, str(box)], timeout=UP_WITHIN)
    host.run(["vagrant", "up", "--provider", "libvirt"], cwd=folder, timeout=UP_WITHIN)
    return folder


def destroy(host: Host, folder: Path) -> None:
    """Remove the machine that `up` booted."""
    host.run(["vagrant", "destroy", "-f"], cwd=folder, timeout=UP_WITHIN)
