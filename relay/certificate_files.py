"""Which certificate the relay shows, and how another takes its place without a restart."""

from __future__ import annotations

import asyncio
import datetime
import logging
from pathlib import Path

from relay.certificate import ServerIdentity, read_identity
from relay.operation.events import Event, tell
from tunnel.errors import VshareError

LOOK_EVERY = 60.0  # seconds; whoever renews certificates does so days before they end

log = logging.getLogger(__name__)


class ShownIdentity:
    """What connections are shown from now on: each asks for `current` as it begins and keeps that.

    So a connection that has begun is not disturbed, and a share signs, and has checked, the
    certificate that it saw (docs/protocol.md 4).
    """

    def __init__(self, current: ServerIdentity) -> None:
        self.current = current


class CertificateFiles:
    """PEM files whose pair is shown; without `key` both are in `certificate`.

    `names` are those that the certificate should be for.
    """

    def __init__(
        self, shown: ShownIdentity, certificate: Path, key: Path | None, names: list[str]
    ) -> None:
        self._shown, self._certificate, self._key = shown, certificate, key
        self._names = names
        self._seen = self._look()

    def reload(self) -> str:
        """Read the files and show what is in them; what came of it, for people.

        What cannot be used changes nothing: VshareError.
        """
        self._seen = self._look()
        identity = read_identity(self._certificate, self._key)
        if fault := fault_of_dates(identity):
            raise VshareError(
                f"the certificate in {self._certificate} {fault}", "put another there"
            )
        if identity.fingerprint == self._shown.current.fingerprint:
            return f"the certificate in {self._certificate} is the one in use ({dates(identity)})"
        self._shown.current = identity
        self.warn_of_names()
        return f"new connections get the certificate in {self._certificate} ({dates(identity)})"

    def warn_of_dates(self) -> None:
        """Say so if the certificate that is shown is not valid."""
        if fault := fault_of_dates(self._shown.current):
            text = f"the relay's certificate {fault}: shares will not register here"
            tell(log, logging.WARNING, Event.CERTIFICATE_FAULT, text)

    def warn_of_names(self) -> None:
        """Say which names the certificate that is shown does not cover."""
        if lacking := self._shown.current.lacks(self._names):
            names = " and ".join(lacking)
            text = f"the relay's certificate is not for {names}: browsers will warn of it there"
            tell(log, logging.WARNING, Event.CERTIFICATE_FAULT, text)

    async def keep_watch(self) -> None:
        """Run until cancelled: reload the files when they change."""
        while True:
            await asyncio.sleep(LOOK_EVERY)
            self.reload_if_changed()

    def reload_if_changed(self) -> None:
        """Reload the files if they are others than at the last look; failing is said once."""
        if self._look() == self._seen:
            return
        try:
            text = self.reload()
            ends = f"{self._shown.current.ends:%Y-%m-%d}"
            tell(log, logging.INFO, Event.CERTIFICATE_REPLACED, text, ends=ends)
        except VshareError as error:
            text = f"{error.text}; the relay goes on with the one that it has"
            tell(log, logging.WARNING, Event.CERTIFICATE_FAULT, text)

    def _look(self) -> list[tuple[int, ...]]:
        """What tells one version of the files from another."""
        seen: list[tuple[int, ...]] = []
        for path in (self._certificate, self._key or self._certificate):
            try:
                status = path.stat()
            except OSError:  # between the removal of one and the arrival of the next
                seen.append((0,))
            else:
                seen.append((status.st_mtime_ns, status.st_size, status.st_ino))
        return seen


def fault_of_dates(identity: ServerIdentity) -> str:
    """What is wrong with the certificate at this time; empty: nothing."""
    now = datetime.datetime.now(datetime.UTC)
    if identity.begins <= now <= identity.ends:
        return ""
    return f"{'is not valid yet' if now < identity.begins else 'has expired'} ({dates(identity)})"


def dates(identity: ServerIdentity) -> str:
    """When the certificate is good, for people."""
    return f"{identity.begins:%Y-%m-%d} to {identity.ends:%Y-%m-%d}"
