"""The file system of an image while it is put together."""

from __future__ import annotations

import posixpath

from box.debs import Contents
from box.elf import is_elf, needed_libraries
from box.errors import BoxError
from box.sysroot import LIBRARY_FOLDERS
from connect_vm import cpio

LOADER = "lib64/ld-linux-x86-64.so.2"
LIBRARIES = "lib/x86_64-linux-gnu"  # where all libraries go, one folder for the loader to look in


class Tree:
    """Files to be; `contents` is where programs and libraries are taken from."""

    def __init__(self, contents: Contents) -> None:
        self.contents = contents
        self._entries: dict[str, cpio.Entry] = {}

    def add(self, entry: cpio.Entry) -> None:
        """Add or replace one entry; folders above it are made."""
        parent = posixpath.dirname(entry.path)
        if parent and parent not in self._entries:
            self.add(cpio.directory(parent))
        self._entries[entry.path] = entry

    def directory(self, path: str, permissions: int = 0o755, owner: int = 0) -> None:
        """Add a folder."""
        self.add(cpio.directory(path, permissions, owner))

    def file(self, path: str, data: bytes, permissions: int = 0o644, owner: int = 0) -> None:
        """Add a file, and the libraries it needs when it is a program or library."""
        self.add(cpio.regular(path, data, permissions, owner))
        if is_elf(data) and not path.endswith(".ko"):
            for soname in needed_libraries(data):
                self.library(soname)

    def link(self, path: str, target: str) -> None:
        """Add a symbolic link."""
        self.add(cpio.symlink(path, target))

    def copy(self, source: str, path: str = "") -> None:
        """Add a file of the packages, under another path if one is given."""
        real = self.contents.real_path(source)
        permissions = self.contents.permissions[real] & 0o755
        self.file(path or source, self.contents.files[real], permissions)

    def library(self, soname: str) -> None:
        """Add a shared library by its soname. Raises BoxError when no package has it."""
        path = LOADER if soname == posixpath.basename(LOADER) else f"{LIBRARIES}/{soname}"
        if path in self._entries:
            return
        for folder in LIBRARY_FOLDERS:
            source = f"{folder}/{soname}"
            if source in self.contents.files or source in self.contents.links:
                self.file(path, self.contents.read(source), 0o755)
                return
        raise BoxError(f"no package has the library {soname}")

    def archive(self) -> bytes:
        """The file system as a newc archive, sorted by path (folders come before their files)."""
        return cpio.archive(self._entries[path] for path in sorted(self._entries))
