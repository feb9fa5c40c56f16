"""Where the connect VM's kernel and initramfs are, and their configuration's archive."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from connect_vm import cpio
from connect_vm.addresses import Addresses
from tunnel.errors import VshareError

ENVIRONMENT = "VSHARE_IMAGES"  # a folder with an image in it, or with the folder `connect`
MANIFEST = "manifest.json"
KERNEL = "vmlinuz"
INITRAMFS = "initramfs.cpio.zst"
BOX = "vshare-connect.box"
CONFIG = "etc/vshare/agent.conf"
INTERFACE = "eth0"
AGENT_PORT = 7000  # docs/protocol.md 10
_HINT = "build it with `make box`, or go without a static IP: --disable-static-ip"


class ImageError(VshareError):
    """The connect VM's image is missing or not what its manifest says."""


@dataclass(frozen=True, slots=True)
class Image:
    """A built connect VM."""

    folder: Path
    command_line: str

    @property
    def kernel(self) -> Path:
        """The kernel."""
        return self.folder / KERNEL

    @property
    def initramfs(self) -> Path:
        """The initramfs, which another archive may be appended to."""
        return self.folder / INITRAMFS

    @property
    def box(self) -> Path:
        """The same as a box for Vagrant."""
        return self.folder / BOX


def find_image() -> Image:
    """The first image of: $VSHARE_IMAGES, this source tree, the user's data. Raises ImageError."""
    places = [
        Path(__file__).resolve().parent.parent / "box" / "images" / "connect",
        platformdirs.user_data_path("vshare") / "connect",
    ]
    if chosen := os.environ.get(ENVIRONMENT):
        places = [Path(chosen), Path(chosen) / "connect"]
    for place in places:
        if (place / MANIFEST).is_file():
            return load_image(place)
    raise ImageError(f"the connect VM's image is not in {' or '.join(map(str, places))}", _HINT)


def load_image(folder: Path) -> Image:
    """The image in `folder`, its kernel and initramfs checked. Raises ImageError."""
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
        line = str(manifest["command_line"])
        digests = {name: str(manifest["outputs"][name]) for name in (KERNEL, INITRAMFS)}
        for name, digest in digests.items():
            if hashlib.sha256((folder / name).read_bytes()).hexdigest() != digest:
                raise ImageError(f"{folder / name} is not what its manifest says", _HINT)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ImageError(f"the connect VM's image in {folder} is broken: {error}", _HINT) from error
    return Image(folder, line)


def with_config(initramfs: bytes, addresses: Addresses, secret: bytes) -> bytes:
    """An initramfs that starts the agent for these addresses. It holds the secret."""
    hosts = (*addresses.statics, addresses.control)
    config = {
        "interface": INTERFACE,
        "addresses": " ".join(f"{host}/{addresses.network.prefixlen}" for host in hosts),
        "control": str(addresses.control),
        "port": str(AGENT_PORT),
        "secret": secret.hex(),
    }
    text = "".join(f"{name} {value}\n" for name, value in config.items()).encode()
    padding = b"\0" * (-len(initramfs) % cpio.ALIGNMENT)
    return initramfs + padding + cpio.archive([cpio.regular(CONFIG, text, 0o600)])


def stage(folder: Path, image: Image, addresses: Addresses, secret: bytes) -> Path:
    """Copy the kernel and the configured initramfs into `folder`; the initramfs' path.

    libvirt hands these copies to QEMU's user, and the originals stay as they are.
    """
    folder.chmod(0o711)  # QEMU's user must get through, and needs no listing
    shutil.copyfile(image.kernel, folder / KERNEL)
    path = folder / "initramfs"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "wb") as file:
        file.write(with_config(image.initramfs.read_bytes(), addresses, secret))
    return path
