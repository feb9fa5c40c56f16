"""Where a small secret is kept: in the user's keyring where there is one, else in a file.

The file is there in both cases, since it is what its owner locks; it tells where the secret is.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import logging
import os
import queue
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from tunnel.errors import VshareError

SERVICE = "vshare"  # what the keyring's programs show
KEYRING_WITHIN = 5.0  # seconds: it is asked over D-Bus, and may ask its user to unlock it
MAX_SECRET = 1024  # bytes
RECOMMENDED = 1.0  # a backend's priority, from which on the package calls it fit for use
_MARK = b"in the keyring\n"
_MAX_REASON = 200  # characters of what a backend says

if TYPE_CHECKING:
    from keyring.backend import KeyringBackend

T = TypeVar("T")

_log = logging.getLogger("vshare.keystore")


class KeyringError(VshareError):
    """The keyring cannot be used now."""


class NoKeyringError(VshareError):
    """There is none: a server, a container."""


class KeyStore:
    """Keeps one secret. `file` is open for reading and writing, locked, and its user's alone.

    Nothing here is fit for the event loop's idle hours: a call takes up to KEYRING_WITHIN.
    """

    def __init__(self, file: int) -> None:
        self._file = file
        self._in_keyring: bytes | None = None  # what is known to be there

    def get(self, name: str) -> bytes | None:
        """The secret called `name`. Raises KeyringError: it is in a keyring that is closed."""
        kept = os.pread(self._file, MAX_SECRET + 1, 0)
        if kept and kept != _MARK:
            return kept
        try:
            secret = _from_keyring(name)
        except (KeyringError, NoKeyringError) as error:
            if kept:
                raise KeyringError(
                    f"the key of {name!r} is in your keyring, which cannot be used: {error.text}",
                    "unlock it, or log in where it is; or choose another --name",
                ) from error
            return None  # whether that is worth a word, put() finds out
        self._in_keyring = secret
        return secret

    def put(self, name: str, secret: bytes) -> None:
        """Keep `secret`, which get() returned or which is new. A keyring that fails is told of."""
        if self._in_keyring == secret:
            self._write(_MARK)
            return
        try:
            _to_keyring(name, secret)
        except NoKeyringError:
            self._write(secret)
        except KeyringError as error:
            _log.warning("a key stays in a file, because of the keyring: %s", error.text)
            self._write(secret)
        else:
            self._in_keyring = secret
            self._write(_MARK)

    def remove(self, name: str) -> None:
        """Keep it no more. Raises KeyringError: it is in a keyring that cannot be used."""
        if os.pread(self._file, MAX_SECRET + 1, 0) in (_MARK, b""):
            with contextlib.suppress(NoKeyringError):
                _from_keyring_away(name)
        self._in_keyring = None
        self._write(b"")

    def _write(self, content: bytes) -> None:
        if os.pread(self._file, MAX_SECRET + 1, 0) == content:
            return
        os.ftruncate(self._file, 0)  # a crash here leaves an empty file: the keyring is asked then
        os.pwrite(self._file, content, 0)


def _from_keyring(name: str) -> bytes | None:
    """Raises KeyringError, NoKeyringError."""

    def get() -> str | None:
        return _backend().get_password(SERVICE, name)

    text = _in_time(get)
    try:
        return None if text is None else base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None  # not what was put there: as good as none


def _to_keyring(name: str, secret: bytes) -> None:
    """Store, and look whether it is there: what it took is given up elsewhere.

    Raises KeyringError, NoKeyringError.
    """
    text = base64.b64encode(secret).decode()

    def put() -> bool:
        backend = _backend()
        backend.set_password(SERVICE, name, text)
        return backend.get_password(SERVICE, name) == text

    if not _in_time(put):
        raise KeyringError("it does not keep what it is given")


def _from_keyring_away(name: str) -> None:
    """Raises KeyringError, NoKeyringError."""

    def remove() -> None:
        backend = _backend()
        if backend.get_password(SERVICE, name) is not None:
            backend.delete_password(SERVICE, name)

    _in_time(remove)


def _backend() -> KeyringBackend:
    """The user's keyring. Raises NoKeyringError. Takes 0.1 s when it is first asked for."""
    import keyring

    backend = keyring.get_keyring()
    if backend.priority < RECOMMENDED:
        raise NoKeyringError("there is no keyring")
    return backend


def _in_time(ask: Callable[[], T]) -> T:
    """What `ask` returns in a thread of its own, which is left behind when it hangs."""
    answers: queue.SimpleQueue[T | Exception] = queue.SimpleQueue()

    def work() -> None:
        try:
            answers.put(ask())
        except Exception as error:  # backends raise what they like
            answers.put(error)

    threading.Thread(target=work, name="keyring", daemon=True).start()
    try:
        answer = answers.get(timeout=KEYRING_WITHIN)
    except queue.Empty:
        raise KeyringError(f"it did not answer in {KEYRING_WITHIN:.0f} s") from None
    if isinstance(answer, NoKeyringError):
        raise answer
    if isinstance(answer, Exception):
        reason = f"{type(answer).__name__}: {answer}"[:_MAX_REASON]
        raise KeyringError(reason) from answer
    return answer
