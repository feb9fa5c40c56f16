"""Process 1 of one host of the lab: makes its namespaces, and they live as long as it does.

Run as `python -I -S holder.py CONFIG` (JSON, see main). Prints the pid by which the machine
knows process 1, then `ready`. It ends when its standard input does, which is when the lab's
process dies, however it dies; the kernel then kills every process of the host, and with the
last one its network, its mounts and its tmpfs are gone. Only files are left to clean up.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
if TYPE_CHECKING:
    from tests.lab import kernel
else:
    import kernel  # found beside this file: -I leaves the script's folder out

NODES = ("null", "zero", "full", "random", "urandom", "tty", "net/tun")
"""The devices a host has. No kvm: libvirt probes it forever where KVM exists and does not work."""
RUN_FOLDERS = ("lock", "libvirt", "sshd", "user/0", "postgresql")


def main(config: dict[str, object]) -> None:
    """Make the namespaces and stay. `config`: name, scratch (a folder on the machine),
    binds (folder in scratch -> where it is mounted), files (path -> text)."""
    namespaces = kernel.CLONE_NEWNET | kernel.CLONE_NEWNS | kernel.CLONE_NEWUTS
    kernel.unshare(namespaces | kernel.CLONE_NEWPID)
    told, tell = os.pipe()
    child = os.fork()
    if child:
        print(child, flush=True)
        os.close(tell)
        os.close(1)
        os.waitpid(child, 0)
        return
    os.close(tell)
    os.read(told, 1)  # ends when the pid is printed: `ready` has to come second
    kernel.die_with_parent(signal.SIGKILL)
    socket.sethostname(str(config["name"]))
    _mount_all(config)
    Path("/proc/sys/net/ipv4/ping_group_range").write_text("0 2147483647")
    print("ready", flush=True)
    os.close(1)
    signal.signal(signal.SIGCHLD, _reap)
    while os.read(0, 1):
        pass


def _reap(_number: int, _frame: FrameType | None) -> None:
    """Process 1 inherits every orphan and has to wait for it."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def _mount_all(config: dict[str, object]) -> None:
    kernel.mount("none", "/", flags=kernel.MS_REC | kernel.MS_PRIVATE)
    tight = kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC
    kernel.mount("proc", "/proc", "proc", tight)
    kernel.mount("sysfs", "/sys", "sysfs", tight)  # shows this network namespace's interfaces
    _mount_dev()
    kernel.mount("tmpfs", "/run", "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "mode=755")
    for folder in RUN_FOLDERS:
        os.makedirs(f"/run/{folder}", exist_ok=True)
    scratch, binds, files = str(config["scratch"]), config["binds"], config["files"]
    for source, target in dict(binds).items():  # type: ignore[call-overload]
        if os.path.isdir(target):
            kernel.mount(f"{scratch}/{source}", target, flags=kernel.MS_BIND)
    for path, text in dict(files).items():  # type: ignore[call-overload]
        _replace_file(path, text)


def _mount_dev() -> None:
    stage = "/mnt"  # any folder will do: the mount moves on to /dev
    kernel.mount("tmpfs", stage, "tmpfs", kernel.MS_NOSUID, "mode=755")
    for node in NODES:
        if not os.path.exists(f"/dev/{node}"):
            continue
        target = Path(stage, node)
        target.parent.mkdir(exist_ok=True)
        target.touch()
        kernel.mount(f"/dev/{node}", str(target), flags=kernel.MS_BIND)
    for folder in ("pts", "shm"):
        os.mkdir(f"{stage}/{folder}")
    kernel.mount("tmpfs", f"{stage}/shm", "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "mode=1777")
    own_ptys = "newinstance,ptmxmode=0666,mode=0620,gid=5"  # gid 5: tty
    kernel.mount("devpts", f"{stage}/pts", "devpts", kernel.MS_NOSUID, own_ptys)
    os.symlink("pts/ptmx", f"{stage}/ptmx")
    os.symlink("/proc/self/fd", f"{stage}/fd")
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        os.symlink(f"/proc/self/fd/{number}", f"{stage}/{name}")
    kernel.mount(stage, "/dev", flags=kernel.MS_MOVE)


def _replace_file(path: str, text: str) -> None:
    """Give `path` another content in this mount namespace; the file on disk is not touched."""
    target = Path(os.path.realpath(path))
    if not target.exists():  # a link into /run, whose content is hidden here
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        return
    own = Path("/run/vshare-lab-files", path.strip("/").replace("/", "-"))
    own.parent.mkdir(exist_ok=True)
    own.write_text(text)
    kernel.mount(str(own), str(target), flags=kernel.MS_BIND)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
