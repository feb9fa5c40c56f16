"""Compressing an image, and the manifest that says what it was made from.

A manifest is also the answer to "is it up to date?": it holds a digest of the sources and of
the packages, and the digests of the files beside it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path

from box.debs import Deb
from box.sysroot import Sysroot
from connect_vm.cpio import ALIGNMENT

MANIFEST = "manifest.json"
ZSTD = "usr/bin/zstd"
ZSTD_OPTIONS = ("-q", "--single-thread", "-c")
ZSTD_TOOLS = ("zstd", "liblz4-1", "liblzma5", "libgcc-s1", "libstdc++6")


def compress(sysroot: Sysroot, data: bytes, level: int) -> bytes:
    """`data` packed for the kernel, padded so that another archive may follow.

    Levels over 19 need a window of over 8 MiB, which the kernel does not unpack.
    """
    packed = sysroot.run(ZSTD, *ZSTD_OPTIONS, f"-{level}", data=data)
    return packed + b"\0" * (-len(packed) % ALIGNMENT)


def write(
    folder: Path, inputs: str, debs: Iterable[Deb], files: Mapping[str, bytes], line: str
) -> None:
    """Write an image's files and its manifest.

    `inputs` is the digest of what it was built from, `line` the kernel's command line.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST).unlink(missing_ok=True)
    for name, data in files.items():
        temporary = folder / f".{name}.new"
        temporary.write_bytes(data)
        temporary.replace(folder / name)
    manifest = {
        "inputs": inputs,
        "packages": [asdict(deb) for deb in debs],
        "outputs": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
        "command_line": line,
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")


def is_current(folder: Path, inputs: str) -> bool:
    """Whether the files in `folder` are what would be built from these inputs."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        if manifest["inputs"] != inputs:
            return False
        return all(
            hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
            for name, digest in manifest["outputs"].items()
        )
    except (OSError, ValueError, KeyError, TypeError):
        return False


def digest_of(sources: Iterable[Path], debs: Iterable[Deb]) -> str:
    """One digest over source files (names and contents) and packages."""
    total = hashlib.sha256()
    for path in sorted(sources):
        total.update(f"{path.name}\0".encode())
        total.update(hashlib.sha256(path.read_bytes()).digest())
    for deb in debs:
        total.update(f"{deb.package}\0{deb.sha256}\0".encode())
    return total.hexdigest()
