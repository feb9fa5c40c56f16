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
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tunnel.errors import VshareError
from tunnel.identity import fingerprint, memory_file

BACKDATED = datetime.timedelta(days=1)  # clocks are wrong
LASTS = datetime.timedelta(days=90)  # of a self-made one; a share lives for hours
MAX_COMMON_NAME = 64  # characters, X.520
# Only what encrypts and authenticates in one, with forward secrecy (RFC 9325 4.2).
TLS_1_2_SUITES = "ECDHE+AESGCM:ECDHE+CHACHA20"
HTTP_1_1 = "http/1.1"


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
        try:
            extensions = self.first.extensions
            names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except x509.ExtensionNotFound:
            return list(hosts)
        known = {name.lower() for name in names.get_values_for_type(x509.DNSName)}
        return [
            host
            for host in hosts
            if host not in known and f"*.{host.partition('.')[2]}" not in known
        ]

    def context(self) -> ssl.SSLContext:
        """A TLS server's for browsers. Raises ssl.SSLError."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(TLS_1_2_SUITES)  # those of 1.3 are all fit
        context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION
        context.num_tickets = 0
        context.set_alpn_protocols([HTTP_1_1])
        with memory_file(self.chain) as chain, memory_file(self.key) as key:
            context.load_cert_chain(chain, key, password="")  # else a terminal would be asked
        return context


def read_certificate(certificate: Path, key: Path | None) -> SiteCertificate:
    """The one in PEM files; without `key` both are in `certificate`. Raises VshareError."""
    try:
        found = SiteCertificate(certificate.read_bytes(), (key or certificate).read_bytes())
        found.context()
        found.fingerprint  # noqa: B018  # raises what cryptography does not take
    except (OSError, ValueError, IndexError, ssl.SSLError) as error:
        mismatch = getattr(error, "reason", None) == "KEY_VALUES_MISMATCH"
        why = "the private key is not the certificate's" if mismatch else str(error)
        raise VshareError(
            f"the certificate for browsers or its key cannot be used: {why}",
            "--https-cert takes a PEM file with the chain, --https-key the PEM file of its private"
            " key, without a passphrase",
        ) from error
    return found


def make_certificate(hosts: Sequence[str], now: datetime.datetime) -> SiteCertificate:
    """A self-signed one for these hosts, the first of them its name. Raises VshareError."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hosts[0][:MAX_COMMON_NAME])])
    try:
        names = x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts])
    except ValueError as error:
        raise VshareError(
            f"no certificate can be made for {hosts[0]!r}: {error}",
            "give one with --https-cert and --https-key",
        ) from error
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + LASTS)
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    chain = certificate.public_bytes(serialization.Encoding.PEM)
    return SiteCertificate(chain, private, is_self_made=True)
