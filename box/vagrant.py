"""The `.box` files for Vagrant's libvirt provider: a tar of an unused disk and the image.

Source: https://developer.hashicorp.com/vagrant/docs/boxes/format and vagrant-libvirt's
documentation of its box format.
"""

from __future__ import annotations

import io
import json
import struct
import tarfile
from collections.abc import Mapping

DISK_GIGABYTES = 1  # what metadata.json can express at least; the file stays small
CLUSTER_BITS = 16  # QCOW2's default, 64 KiB


def box_file(vagrantfile: bytes, files: Mapping[str, bytes]) -> bytes:
    """A box with this Vagrantfile and these files beside it. Not compressed: they are already."""
    metadata = {"provider": "libvirt", "format": "qcow2", "virtual_size": DISK_GIGABYTES}
    members = {
        "metadata.json": json.dumps(metadata).encode(),
        "Vagrantfile": vagrantfile,
        "box.img": empty_disk(DISK_GIGABYTES << 30),
        **files,
    }
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name in sorted(members):
            info = tarfile.TarInfo(name)
            info.size = len(members[name])
            tar.addfile(info, io.BytesIO(members[name]))
    return output.getvalue()


def empty_disk(size: int) -> bytes:
    """A QCOW2 version 2 image of `size` bytes that holds nothing.

    Four clusters: header, refcount table, one refcount block, level 1 table.
    Source: QEMU's docs/interop/qcow2.txt.
    """
    cluster = 1 << CLUSTER_BITS
    level2_covers = cluster * (cluster // 8)
    header = struct.pack(
        ">4sIQIIQIIQQIIQ",
        b"QFI\xfb",
        2,
        0,
        0,
        CLUSTER_BITS,
        size,
        0,
        -(-size // level2_covers),
        3 * cluster,  # level 1 table
        cluster,
        1,  # refcount table
        0,
        0,  # snapshots
    )
    table = struct.pack(">Q", 2 * cluster)
    block = struct.pack(">4H", 1, 1, 1, 1)
    parts = (header, table, block, b"")
    return b"".join(part.ljust(cluster, b"\0") for part in parts)
