"""Debian packages: fetching them with apt into a cache, and reading what is in them.

Needs no root: packages are read (ar, tar), never installed. The cache's `lock.json` says which
version of each package is used, so that builds repeat; delete it to take the newest ones.
"""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from box.errors import BoxError

AR_MAGIC = b"!<arch>\n"
AR_HEADER_SIZE = 60
DOWNLOAD_TIMEOUT = 600  # seconds; 60 MB on a slow line
KERNEL = "linux-image-cloud-amd64"  # depends on the kernel package of today's version
LINK_LIMIT = 16  # links in a row; more is a loop


@dataclass(frozen=True, slots=True)
class Deb:
    """One package in the cache. `sha256` is of the .deb, as in Debian's own index."""

    package: str
    version: str
    file: str
    sha256: str


class Cache:
    """The folder of downloaded packages."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = folder / "lock.json"

    def locked(self) -> dict[str, Deb]:
        """The packages that builds use, by name."""
        if not self._lock.exists():
            return {}
        items: list[dict[str, str]] = json.loads(self._lock.read_text())
        return {item["package"]: Deb(**item) for item in items}

    def fetch(self, packages: Iterable[str]) -> list[Deb]:
        """These packages, downloaded if they are not in the cache. Raises BoxError."""
        self.folder.mkdir(parents=True, exist_ok=True)
        known = self.locked()
        wanted = sorted(set(packages))
        missing = [p for p in wanted if p not in known or not self.path(known[p]).exists()]
        if missing:
            known |= {deb.package: deb for deb in self._download(missing)}
            items = [asdict(known[name]) for name in sorted(known)]
            self._lock.write_text(json.dumps(items, indent=1) + "\n")
        return [known[name] for name in wanted]

    def kernel(self) -> str:
        """The name of the package that holds the kernel."""
        for name in self.locked():
            if name.startswith("linux-image-"):
                return name
        shown = _apt("apt-cache", "show", "--no-all-versions", KERNEL)
        for line in shown.splitlines():
            if line.startswith("Depends: "):
                return line.removeprefix("Depends: ").split()[0].rstrip(",")
        raise BoxError(f"no kernel package found for {KERNEL}", "run `apt-get update` as root")

    def path(self, deb: Deb) -> Path:
        """Where a package is."""
        return self.folder / deb.file

    def read(self, deb: Deb) -> Contents:
        """What is in a package. Raises BoxError when it is not what was locked."""
        data = self.path(deb).read_bytes()
        if hashlib.sha256(data).hexdigest() != deb.sha256:
            raise BoxError(f"{self.path(deb)} has changed", "delete it and build again")
        return unpack(data)

    def _download(self, packages: list[str]) -> list[Deb]:
        with tempfile.TemporaryDirectory(dir=self.folder) as temporary:
            # as root apt would fetch as the user _apt, who cannot write here
            sandbox = ("-o", "APT::Sandbox::User=root")
            _apt("apt-get", "-q", *sandbox, "download", *packages, folder=Path(temporary))
            return [self._take(path) for path in sorted(Path(temporary).glob("*.deb"))]

    def _take(self, path: Path) -> Deb:
        data = path.read_bytes()
        control = _control(data)
        deb = Deb(
            control["Package"], control["Version"], path.name, hashlib.sha256(data).hexdigest()
        )
        path.rename(self.path(deb))
        return deb


class Contents:
    """The files of one or more packages, by path without a leading slash."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.links: dict[str, str] = {}
        self.permissions: dict[str, int] = {}

    def add(self, other: Contents) -> None:
        """Take in another package's files."""
        self.files |= other.files
        self.links |= other.links
        self.permissions |= other.permissions

    def real_path(self, path: str) -> str:
        """`path` with a symbolic link at its end followed. Raises BoxError when it is missing."""
        place = path
        for _ in range(LINK_LIMIT):
            if place in self.files:
                return place
            if place not in self.links:
                break
            place = _join(place, self.links[place])
        raise BoxError(f"no package has {path}", "change the packages of the recipe")

    def read(self, path: str) -> bytes:
        """A file's content, links followed."""
        return self.files[self.real_path(path)]

    def below(self, folder: str) -> list[str]:
        """The paths of all files below a folder, sorted."""
        return sorted(path for path in self.files if path.startswith(folder + "/"))


def unpack(data: bytes) -> Contents:
    """The files in a .deb. Raises BoxError."""
    contents = Contents()
    with _member_tar(data, "data.tar") as tar:
        for info in tar:
            path = info.name.removeprefix("./")
            if info.issym():
                contents.links[path] = info.linkname
            elif info.islnk():
                contents.files[path] = contents.files[info.linkname.removeprefix("./")]
                contents.permissions[path] = info.mode
            elif info.isreg() and (file := tar.extractfile(info)):
                contents.files[path] = file.read()
                contents.permissions[path] = info.mode
    return contents


def _control(data: bytes) -> dict[str, str]:
    with _member_tar(data, "control.tar") as tar:
        file = tar.extractfile("./control")
        text = file.read().decode() if file else ""
    pairs = (line.partition(": ") for line in text.splitlines() if not line.startswith(" "))
    return {key: value for key, _, value in pairs}


def _member_tar(data: bytes, prefix: str) -> tarfile.TarFile:
    if not data.startswith(AR_MAGIC):
        raise BoxError("not a Debian package")
    offset = len(AR_MAGIC)
    while offset + AR_HEADER_SIZE <= len(data):
        name = data[offset : offset + 16].decode("ascii").rstrip(" /")
        size = int(data[offset + 48 : offset + 58])
        offset += AR_HEADER_SIZE
        if name.startswith(prefix):
            return tarfile.open(fileobj=io.BytesIO(data[offset : offset + size]), mode="r:*")
        offset += size + size % 2
    raise BoxError(f"not a Debian package: it has no {prefix}")


def _join(place: str, target: str) -> str:
    parts = [] if target.startswith("/") else place.split("/")[:-1]
    for part in target.split("/"):
        if part == "..":
            parts = parts[:-1]
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)


def _apt(*command: str, folder: Path | None = None) -> str:
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=DOWNLOAD_TIMEOUT
        )
    except FileNotFoundError as error:
        raise BoxError(f"{command[0]} is not installed", "images are built on Debian") from error
    except subprocess.TimeoutExpired as error:
        raise BoxError(f"{command[0]} took over {DOWNLOAD_TIMEOUT} s", "try again") from error
    if done.returncode:
        reason = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
        hint = "run `apt-get update` as root; the images need Debian 12's packages"
        raise BoxError(f"{' '.join(command[:2])}: {' '.join(reason)}", hint)
    return done.stdout
