"""A libvirtd of its own on a host of the lab: real domains and networks, none the machine's."""

from __future__ import annotations

import shutil
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from tunnel.errors import VshareError

if TYPE_CHECKING:
    from tests.lab.host import Host

READY_WITHIN = 30.0  # seconds; measured 1 to 3, and it asks QEMU what it can do first
SOCKET = "/run/libvirt/libvirt-sock"
POLL = 0.02  # seconds
PACKAGED = ("dnsmasq", "images", "boot", "qemu")
"""Folders of /var/lib/libvirt that the package brings and libvirtd counts on."""
CONFIGURATION = {
    "libvirtd.conf": 'auth_unix_rw = "none"\nauth_unix_ro = "none"\nunix_sock_group = "root"\n',
    "virtlogd.conf": "",
    "libvirt.conf": "",
    # one user, no labels, no cgroups: the host is namespaces of a machine that has its own of these
    "qemu.conf": 'user = "root"\ngroup = "root"\nsecurity_driver = "none"\n'
    "cgroup_controllers = []\nnamespaces = []\nremember_owner = 0\n",
}


def start(host: Host) -> None:
    """Start virtlogd and libvirtd there and wait until they answer. Raises VshareError."""
    if shutil.which("libvirtd") is None:
        raise VshareError("no libvirtd on this machine", "apt-get install libvirt-daemon-system")
    folder = host.folder / "libvirt/etc"
    for name, text in CONFIGURATION.items():
        (folder / name).write_text(text)
    for name in PACKAGED:
        (host.folder / "libvirt/lib" / name).mkdir(exist_ok=True)
    log = host.folder / "log"
    for program in ("virtlogd", "libvirtd"):
        with (log / f"{program}.txt").open("w") as output:
            daemon = host.popen([program], stdout=output, stderr=output)
        path = SOCKET if program == "libvirtd" else "/run/libvirt/virtlogd-sock"
        deadline = time.monotonic() + READY_WITHIN
        while not _answers(host.path(path)):
            if daemon.poll() is not None or time.monotonic() > deadline:
                words = (log / f"{program}.txt").read_text().strip()[-400:]
                raise VshareError(f"{host.name}: {program} did not start: {words or 'no output'}")
            time.sleep(POLL)
    host.run(["virsh", "-q", "version", "--daemon"], timeout=READY_WITHIN)


def _answers(path: Path) -> bool:
    with suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
        probe.connect(str(path))
        return True
    return False
