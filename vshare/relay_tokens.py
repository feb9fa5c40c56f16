"""The tokens that relays gave us, kept as the keys of names are: in the user's keyring, or else in
files that the user alone can read (vshare/keystore.py).

Each is for one relay, named by its address as a whole, the pin of its certificate included: another
that is called the same gets nothing.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import platformdirs

from tunnel.address import RelayAddress
from tunnel.errors import UsageError, VshareError
from tunnel.relay_token import MAX_TOKEN, RelayToken, parse_token
from vshare.keystore import KeyringError, KeyStore


def token_for(relay: RelayAddress, file: Path | None = None) -> RelayToken | None:
    """The token in `file`, or the one that is stored for `relay`, if there is one.

    May take as long as KeyStore does. Raises VshareError.
    """
    return read_token(file) if file is not None else stored_token(relay)


def read_token(file: Path) -> RelayToken:
    """The token in a file of the user's, or what comes out of a pipe. Raises UsageError."""
    try:
        with file.open("rb") as stream:
            text = stream.read(2 * MAX_TOKEN).decode("ascii", "replace")
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UsageError(
            f"cannot read a relay token from {file}: {reason}", "name a file with the token in it"
        ) from error
    return parse_token(text)


def stored_token(relay: RelayAddress, folder: Path | None = None) -> RelayToken | None:
    """Raises VshareError: it is in a keyring that is closed, or is none."""
    with _opened(relay, folder, os.O_RDWR) as file:
        if file is None:
            return None
        try:
            kept = KeyStore(file).get(_called(relay))
        except KeyringError as error:
            raise VshareError(
                f"the token for {relay} is in your keyring, which cannot be used: {error.text}",
                "unlock it, or log in where it is; or give the token with --token-file FILE",
            ) from error
    return parse_token(kept.decode("ascii", "replace")) if kept else None


def store_token(relay: RelayAddress, token: RelayToken, folder: Path | None = None) -> None:
    """Keep `token` for `relay`, in place of an earlier one. Raises VshareError."""
    with _opened(relay, folder, os.O_RDWR | os.O_CREAT) as file:
        assert file is not None  # it was made
        KeyStore(file).put(_called(relay), token.text.encode())


def forget_token(relay: RelayAddress, folder: Path | None = None) -> bool:
    """Keep none for `relay`; False: there was none. Raises VshareError."""
    with _opened(relay, folder, os.O_RDWR) as file:
        if file is None:
            return False
        try:
            KeyStore(file).remove(_called(relay))
        except KeyringError as error:
            raise VshareError(
                f"the token for {relay} is in your keyring, which cannot be used: {error.text}",
                "unlock it, and try again",
            ) from error
        _path(relay, folder).unlink(missing_ok=True)
    return True


def _called(relay: RelayAddress) -> str:
    """Its name in a keyring: no share can be called so."""
    return f"token for {_place(relay)}"


def _place(relay: RelayAddress) -> str:
    return str(relay).lower()


def _path(relay: RelayAddress, folder: Path | None) -> Path:
    base = folder or platformdirs.user_state_path("vshare", appauthor=False) / "tokens"
    return base / f"{urllib.parse.quote(_place(relay), safe='')}.token"


@contextlib.contextmanager
def _opened(relay: RelayAddress, folder: Path | None, flags: int) -> Iterator[int | None]:
    """The file for `relay`, locked; None: there is none. Raises VshareError."""
    path = _path(relay, folder)
    try:
        if flags & os.O_CREAT:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = os.open(path, flags | os.O_CLOEXEC, 0o600)
    except FileNotFoundError:
        yield None
        return
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise VshareError(
            f"cannot keep a token in {path.parent}: {reason}",
            "set XDG_STATE_HOME to a directory that you can write to, or use --token-file FILE",
        ) from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX)  # for as long as a keyring is asked
        yield file
    finally:
        os.close(file)
