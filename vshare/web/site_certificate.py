"""The certificate that browsers see whose TLS ends at the share: the sharer's own, or a self-made.

Its key is in this process alone: the relay passes TLS through, and never has it.
"""

from __future__ import annotations

import datetime
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tunnel.browser_tls import browser_context, dns_names, self_signed
from tunnel.errors import UsageError, VshareError
from tunnel.identity import fingerprint, make_key, private_pem

LASTS = datetime.timedelta(days=90)  # of a self-made one; a share lives for hours
HTTP_1_1 = "http/1.1"
_HINT = (
    "--https-cert takes a PEM file with the chain, --https-key the PEM file of its private key,"
    " without a passphrase"
)


@dataclass(frozen=True, slots=True)
class SiteCertificate:
    """A chain and its private key (PEM). `is_self_made`: browsers warn of it."""

    chain: bytes
    key: bytes = field(repr=False)
    is_self_made: bool = False

    @property
    def first(self) -> x509.Certificate:
        """The site's own certificate. Raises ValueError."""
        return x509.load_pem_x509_certificates(self.chain)[0]

    @property
    def fingerprint(self) -> str:
        """SHA-256 of it, as browsers show it but for case and colons."""
        return fingerprint(self.first.public_bytes(serialization.Encoding.DER))

    @property
    def ends(self) -> datetime.datetime:
        """When it is over."""
        return self.first.not_valid_after_utc

    def lacks(self, hosts: Sequence[str]) -> list[str]:
        """Those of `hosts` that it is not for."""
        known = dns_names(self.first)
        return [
            host
            for host in hosts
            if host not in known and f"*.{host.partition('.')[2]}" not in known
        ]

    def for_host(self, host: str, now: datetime.datetime) -> SiteCertificate:
        """A self-signed one for `host`, with the same key. Raises VshareError."""
        key = serialization.load_pem_private_key(self.key, None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)  # as make_key makes them
        return _self_made([host], key, now)

    def context(self) -> ssl.SSLContext:
        """A TLS server's for browsers. Raises ssl.SSLError."""
        return browser_context(self.chain, self.key, [HTTP_1_1])


def read_certificate(certificate: Path, key: Path | None) -> SiteCertificate:
    """The one in PEM files; without `key` both are in `certificate`. Raises UsageError."""
    try:
        found = SiteCertificate(certificate.read_bytes(), (key or certificate).read_bytes())
        found.context()
        found.fingerprint  # noqa: B018  # raises what cryptography does not take
    except (OSError, ValueError, IndexError, ssl.SSLError) as error:
        mismatch = getattr(error, "reason", None) == "KEY_VALUES_MISMATCH"
        why = "the private key is not the certificate's" if mismatch else str(error)
        raise UsageError(
            f"the certificate for browsers or its key cannot be used: {why}", _HINT
        ) from error
    return found


def check_certificate(certificate: Path, key: Path | None, now: datetime.datetime) -> None:
    """Raise UsageError for files whose certificate browsers would turn away from at any name."""
    first = read_certificate(certificate, key).first
    begins, ends = first.not_valid_before_utc, first.not_valid_after_utc
    fault = ""
    if now < begins:
        fault = f"is not valid before {begins:%Y-%m-%d %H:%M} UTC"
    elif now > ends:
        fault = f"has expired, at {ends:%Y-%m-%d %H:%M} UTC"
    elif not dns_names(first):
        fault = "is for no host name"
    if fault:
        raise UsageError(
            f"the certificate in {certificate} {fault}",
            "give another with --https-cert, or leave it out: then one is made",
        )


def make_certificate(hosts: Sequence[str], now: datetime.datetime) -> SiteCertificate:
    """A self-signed one for these hosts, the first of them its name. Raises VshareError."""
    return _self_made(hosts, make_key(), now)


def _self_made(
    hosts: Sequence[str], key: ec.EllipticCurvePrivateKey, now: datetime.datetime
) -> SiteCertificate:
    try:
        names = [x509.DNSName(host) for host in hosts]
    except ValueError as error:
        raise VshareError(
            f"no certificate can be made for {hosts[0]!r}: {error}",
            "give one with --https-cert and --https-key",
        ) from error
    chain = self_signed(key, names, now, LASTS)
    return SiteCertificate(chain, private_pem(key), is_self_made=True)
