"""The relay's certificate from a public authority: got when there is none, renewed in time."""

from __future__ import annotations

import asyncio
import datetime
import logging
import os
import urllib.parse
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

from relay.acme_proofs import DnsHook, HttpProof
from relay.certificate import ServerIdentity, kept, make_key, read_identity
from relay.certificate_files import ShownIdentity, dates, fault_of_dates
from relay.config import AcmeConfig
from relay.operation.events import Event, tell
from tunnel.errors import VshareError

if TYPE_CHECKING:
    from relay.acme_authority import Authority

# Authorities limit failures (Let's Encrypt: five an hour for a name) and certificates (five of the
# same names a week).
FIRST_PAUSE = 900.0  # seconds after a failure
LONGEST_PAUSE = 12 * 3600.0
LOOK_EVERY = 3600.0  # seconds between looks at the clock: it may be set, or the host may sleep

log = logging.getLogger(__name__)

Certify = Callable[[list[str]], Awaitable[bytes]]


class AcmeCertificate:
    """The certificate of `names` in `file` (PEM, with its key), shown through `shown`.

    `certify` gets another (relay.acme_authority). Until there is one, `shown` shows what it did.
    """

    def __init__(
        self, file: Path, names: list[str], shown: ShownIdentity, certify: Certify
    ) -> None:
        self.file, self._names, self._shown = file, names, shown
        self._certify = certify
        self._current: ServerIdentity | None = None
        if file.exists():
            try:
                self._current = shown.current = read_identity(file, None)
            except VshareError as error:
                log.warning("%s; another is asked for", error.text)
        self.outcomes = Counter(granted=0, failed=0)  # of asking for one
        self.tried = asyncio.Event()  # there is a certificate, or the first try has failed

    async def run(self) -> None:
        """Run until cancelled."""
        failures = 0
        while True:
            await self._until_due()
            try:
                await self._renew()
            except VshareError as error:
                pause = min(FIRST_PAUSE * 2**failures, LONGEST_PAUSE)
                failures += 1
                self.outcomes["failed"] += 1
                text = f"{error.text}; {error.hint}. Tried again in {pause / 60:.0f} minutes"
                tell(log, logging.WARNING, Event.ACME_FAILED, text, again_in=pause)
                self.tried.set()
                await asyncio.sleep(pause)
            else:
                failures = 0
                self.outcomes["granted"] += 1

    async def _until_due(self) -> None:
        while (left := self.due_in(datetime.datetime.now(datetime.UTC))) > 0:
            self.tried.set()
            await asyncio.sleep(min(left, LOOK_EVERY))

    def due_in(self, now: datetime.datetime) -> float:
        """Seconds until the certificate should be another; 0 at once."""
        current = self._current
        if current is None or current.lacks(self._names):
            return 0.0
        due = current.ends - (current.ends - current.begins) / 3
        return max(0.0, (due - now).total_seconds())

    async def _renew(self) -> None:
        pem = await self._certify(self._names)
        try:
            identity = ServerIdentity(pem, pem)
            identity.context()
        except (ValueError, OSError) as error:  # ssl.SSLError is an OSError
            raise VshareError(
                f"what the authority sent is no certificate: {error}", "ask who runs it"
            ) from error
        fault = fault_of_dates(identity)
        if lacking := identity.lacks(self._names):
            fault = f"is not for {' and '.join(lacking)}"
        if fault:
            raise VshareError(
                f"the certificate that the authority sent {fault}", "is this host's clock right?"
            )
        self._current = self._shown.current = identity
        text = f"new connections get the authority's certificate ({dates(identity)})"
        tell(log, logging.INFO, Event.CERTIFICATE_REPLACED, text, ends=f"{identity.ends:%Y-%m-%d}")
        try:
            write_private(self.file, pem)
        except OSError as error:  # asking again would not help
            log.warning(
                "the certificate cannot be kept in %s: %s; after a restart another is asked for",
                self.file,
                error.strerror,
            )


def acme_authority(config: AcmeConfig, state_dir: Path) -> tuple[Authority, Path]:
    """The relay's account at the authority, and where what comes from there is kept. Raises
    VshareError."""
    try:
        from relay.acme_authority import Authority  # 0.1 s and 7 MiB that others need not
    except ImportError as error:
        raise VshareError(
            f"--acme needs a package that is not installed: {error.name}",
            "pip install 'vshare[acme]'",
        ) from error
    server = urllib.parse.urlsplit(config.server).netloc.replace(":", "_")
    folder = state_dir / "acme" / (server or "server")
    try:
        authority = Authority(config.server, config.email, kept(folder / "account.key", make_key()))
    except (OSError, ValueError) as error:
        raise VshareError(
            f"the key of the account at the authority cannot be used: {error}",
            f"make {folder} writable, or remove account.key from it",
        ) from error
    return authority, folder


def acme_certificate(
    config: AcmeConfig, state_dir: Path, names: list[str], shown: ShownIdentity, http: HttpProof
) -> AcmeCertificate:
    """For `names`, the first of them the domain; those with `*.` need a hook, and are left out
    without one. Raises VshareError."""
    authority, folder = acme_authority(config, state_dir)
    proof = DnsHook(config.dns_hook) if config.dns_hook else http
    if config.dns_hook is None:
        names = [name for name in names if not name.startswith("*.")]
    return AcmeCertificate(
        folder / f"{names[0]}.pem", names, shown, lambda wanted: authority.certify(wanted, proof)
    )


def write_private(path: Path, content: bytes) -> None:
    """Put `content` into the file at `path` (mode 0600) in one step."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
    temporary.rename(path)
