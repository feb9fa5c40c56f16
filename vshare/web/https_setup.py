"""`--https-passthrough`: the door where browsers' TLS ends, and what the sharer is told of it."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from pathlib import Path

from tunnel.errors import VshareError
from tunnel.names import ShareName
from vshare.web.site_certificate import SiteCertificate, make_certificate, read_certificate
from vshare.web.sites import Sites
from vshare.web.tls_door import Carrier, TlsDoor, hosts_of

PAIR = 2  # characters of a fingerprint between two colons, as browsers show it


@dataclass(frozen=True, slots=True)
class HttpsOptions:
    """`--https-cert` and `--https-key`; without them the certificate is self-made."""

    certificate: Path | None = None
    key: Path | None = None

    def read(self) -> SiteCertificate | None:
        """The sharer's own certificate, if there is one: to be read before anything is set up.
        Raises VshareError."""
        return read_certificate(self.certificate, self.key) if self.certificate else None


def https_door(
    own: SiteCertificate | None,
    sites: Sites,
    name: ShareName,
    domain: str,
    carrier: Carrier,
) -> TlsDoor:
    """The door for the sites of the share `name` at a relay with this domain. Raises VshareError.

    Run it (`async with`) and give it to the share's server; the relay's link is made with
    `passthrough` and nothing is published.
    """
    hosts = hosts_of(sites, name, domain)
    if not hosts:
        raise VshareError("there is no site whose HTTPS could be passed through", "leave it out")
    now = datetime.datetime.now(datetime.UTC)
    return TlsDoor(hosts, own or make_certificate(list(hosts), now), carrier)


def told_of(door: TlsDoor) -> list[str]:
    """For the screen: whose certificate browsers see, and its fingerprint."""
    certificate = door.certificate
    digits = certificate.fingerprint.upper()
    shown = ":".join(digits[at : at + PAIR] for at in range(0, len(digits), PAIR))
    whose = "self-made here" if certificate.is_self_made else "yours"
    lines = [
        f"HTTPS ends in this process, and the relay cannot read it. The certificate is {whose}:",
        f"SHA-256 {shown}",
    ]
    if certificate.is_self_made:
        lines.append(
            "Browsers warn of it. Tell visitors this fingerprint by another way than the relay, and"
            " let them compare it before they go on."
        )
    return lines


def warnings_of(door: TlsDoor, ends_at: datetime.datetime) -> list[str]:
    """What will make browsers turn away from a share that ends at `ends_at`."""
    certificate = door.certificate
    warnings = []
    missing = certificate.lacks(list(door.hosts))
    if missing:
        warnings.append(f"the certificate is not for {', '.join(missing)}: browsers will warn")
    if certificate.ends < ends_at:
        warnings.append(f"the certificate ends at {certificate.ends:%Y-%m-%d %H:%M} UTC")
    return warnings
