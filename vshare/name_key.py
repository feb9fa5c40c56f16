"""The key that a share's name belongs to at its relay (docs/protocol.md 4).

A name that was chosen is wanted again tomorrow, and the relay gives it to no other key: so its
key is kept: in the user's keyring, or else in a file that the user alone can read
(vshare/keystore.py). It proves the name, and opens nothing.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import platformdirs
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tunnel.errors import VshareError
from tunnel.names import ShareName
from vshare.keystore import KeyStore

KEY_SIZE = 32  # bytes of an Ed25519 private key (RFC 8032 5.1.5)


class OtherKeyError(VshareError):
    """A name of this user's has another key than the one that it was to have."""


@contextlib.contextmanager
def name_key(
    name: ShareName | None, directory: Path | None = None, *, key: Ed25519PrivateKey | None = None
) -> Iterator[Ed25519PrivateKey]:
    """The key for `name`, kept in the keyring or in `directory`; a fresh one for a name that the
    relay draws. `key`: the one that it is to have.

    Locked while it is used: a second share of the name would evict the first from the relay.
    May take as long as KeyStore does. Raises VshareError: OtherKeyError where it has another than
    `key`.
    """
    if name is None:
        yield Ed25519PrivateKey.generate()
        return
    folder = directory or platformdirs.user_state_path("vshare", appauthor=False) / "names"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = os.open(folder / f"{name}.key", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise VshareError(
            f"cannot keep the key of the name {name!r} in {folder}: {reason}",
            "set XDG_STATE_HOME to a directory that you can write to, or leave --name out",
        ) from error
    try:
        _lock(file, name)
        yield _get_or_make(KeyStore(file), name, key)
    finally:
        os.close(file)


def _lock(file: int, name: ShareName) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise VshareError(
            f"the name {name!r} is in use by another vshare of yours on this host",
            "end that one first, or choose another --name",
        ) from None


def _get_or_make(
    store: KeyStore, name: ShareName, key: Ed25519PrivateKey | None
) -> Ed25519PrivateKey:
    kept = store.get(name)
    if kept is None or len(kept) != KEY_SIZE:
        kept = (key or Ed25519PrivateKey.generate()).private_bytes_raw()
    if key is not None and kept != key.private_bytes_raw():
        raise OtherKeyError(
            f"the name {name!r} is kept for an earlier share of yours, with a key of its own",
            f"choose another name; or `vshare stop`, then `vshare up --name {name}`",
        )
    store.put(name, kept)
    return Ed25519PrivateKey.from_private_bytes(kept)
