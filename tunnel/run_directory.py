"""Where the sockets of running programs are: a directory that is its user's alone."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import platformdirs

from tunnel.errors import VshareError

MAX_PATH = 107  # bytes of a UNIX socket's path: sun_path has 108, the last is NUL (unix(7))


def directories() -> list[Path]:
    """Where sockets may be, best first. None of them need exist.

    The runtime directory counts only when it is ours alone, as its specification demands
    (XDG Base Directory Specification); a login without the variable has it all the same.
    """
    places = []
    runtime = Path(os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}")
    if runtime.is_absolute() and _fault(runtime) is None:
        places.append(runtime / "vshare")
    places.append(platformdirs.user_state_path("vshare", appauthor=False) / "run")
    return places


def make_directory() -> Path:
    """The best of `directories`, made where it does not exist. Raises VshareError."""
    place = directories()[0]
    try:
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise VshareError(
            f"cannot make the directory {place}: {reason}",
            "set XDG_RUNTIME_DIR to a directory of yours with mode 0700",
        ) from error
    fault = _fault(place)
    if fault is not None:
        raise VshareError(f"the directory {place} {fault}", f"remove it, or chmod 700 {place}")
    return place


@contextlib.contextmanager
def short_path(path: Path) -> Iterator[str]:
    """`path`, or what names the same file in few enough bytes for a socket, for a while.

    Raises OSError: its directory is not there.
    """
    if len(os.fsencode(path)) <= MAX_PATH:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"  # proc(5)
    finally:
        os.close(folder)


def _fault(place: Path) -> str | None:
    """Why `place` is not its user's alone."""
    try:
        found = place.lstat()
    except OSError as error:
        return f"cannot be looked at: {(error.strerror or str(error)).lower()}"
    if not stat.S_ISDIR(found.st_mode):
        return "is not a directory"
    if found.st_uid != os.getuid():
        return "belongs to another user"
    if found.st_mode & 0o077:
        return "is open to other users"
    return None
