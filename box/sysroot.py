"""Runs programs out of packages that are not installed, with their own loader and libraries.

So what they write does not depend on the version of anything on the host.
"""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from types import TracebackType

from box.debs import Contents
from box.elf import is_elf, needed_libraries
from box.errors import BoxError

LOADER = "lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"
LIBRARY_FOLDERS = ("lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu")
RUN_TIMEOUT = 300  # seconds; zstd at its highest level takes 10 s for 20 MB


class Sysroot:
    """A temporary folder with the loader, libraries and Python of some packages."""

    def __init__(self, contents: Contents) -> None:
        self._contents = contents
        self._temporary = tempfile.TemporaryDirectory(prefix="vshare-box-")
        self.folder = Path(self._temporary.name)

    def __enter__(self) -> Sysroot:
        for path in [*self._contents.files, *self._contents.links]:
            if path.startswith((*LIBRARY_FOLDERS, "usr/lib/python3.11/")) and self._works(path):
                self._place(path)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._temporary.cleanup()

    def run(self, program: str, *arguments: str, data: bytes = b"") -> bytes:
        """What a program writes to its output when it reads `data`. Raises BoxError."""
        if not (self.folder / program).exists():
            self._place(program)
        libraries = ":".join(str(self.folder / folder) for folder in LIBRARY_FOLDERS)
        loader = [str(self.folder / LOADER), "--library-path", libraries]
        command = [*loader, str(self.folder / program), *arguments]
        # sets of strings are written in hash order: the same in every build
        environment = {"PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1", "LC_ALL": "C"}
        done = subprocess.run(
            command, input=data, capture_output=True, env=environment, timeout=RUN_TIMEOUT
        )
        if done.returncode:
            reason = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
            raise BoxError(f"{program} failed while the image was built: {' '.join(reason)}")
        return done.stdout

    def _works(self, path: str) -> bool:
        # an extension module that only the host's libraries would make work is left out, so
        # that what Python imports here is what it can import in the image
        data = self._contents.files.get(path, b"")
        if "/lib-dynload/" not in path or not is_elf(data):
            return True
        return all(self._has(soname) for soname in needed_libraries(data))

    def _has(self, soname: str) -> bool:
        places = [f"{folder}/{soname}" for folder in LIBRARY_FOLDERS]
        return any(p in self._contents.files or p in self._contents.links for p in places)

    def _place(self, path: str) -> None:
        try:
            data = self._contents.read(path)
        except BoxError:
            return  # a link to what is in no package that was asked for: nobody needs it
        place = self.folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
        place.chmod(0o755)
