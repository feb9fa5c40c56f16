"""The relay's keys: its certificate, and the gateway's key pair."""

from __future__ import annotations

import datetime
import ipaddress
import os
import ssl
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tunnel.browser_tls import browser_context, dns_names, self_signed
from tunnel.errors import VshareError
from tunnel.identity import fingerprint, private_pem
from tunnel.identity import make_key as make_private_key

LASTS = datetime.timedelta(days=3650)  # the pin is what is trusted, not the dates


def make_key() -> bytes:
    """A fresh P-256 private key, PEM."""
    return private_pem(make_private_key())


def parse_key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    """The P-256 private key in `pem`. Raises ValueError."""
    key = serialization.load_pem_private_key(pem, None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("not an elliptic curve key")
    return key


def make_certificate(key_pem: bytes, domain: str, now: datetime.datetime) -> bytes:
    """A self-signed certificate (PEM) for `domain`, everything below it, and loopback."""
    names: list[x509.GeneralName] = [x509.DNSName(domain), x509.DNSName(f"*.{domain}")]
    if domain != "localhost":
        names.append(x509.DNSName("localhost"))
    names += [x509.IPAddress(ipaddress.ip_address(text)) for text in ("127.0.0.1", "::1")]
    return self_signed(parse_key(key_pem), names, now, LASTS)


def kept(path: Path | None, make: bytes) -> bytes:
    """What the file at `path` has; `make` is stored there (mode 0600) when it does not exist."""
    if path is None:
        return make
    try:
        return path.read_bytes()
    except FileNotFoundError:
        pass
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(make)
    temporary.rename(path)
    return make


class ServerIdentity:
    """A certificate chain and its private key (PEM), and the certificate's fingerprint.

    It never changes: with another pair comes another identity. One SSLContext that is given a
    second pair would go on showing the first to some, where one key is RSA and the other is not.
    """

    def __init__(self, chain: bytes, key: bytes) -> None:
        self._chain, self._key = chain, key
        self._first = x509.load_pem_x509_certificates(chain)[0]
        self.der = self._first.public_bytes(serialization.Encoding.DER)
        self.fingerprint = fingerprint(self.der)
        self.begins, self.ends = self._first.not_valid_before_utc, self._first.not_valid_after_utc
        self._contexts: dict[tuple[str, ...], ssl.SSLContext] = {}

    def lacks(self, names: Sequence[str]) -> list[str]:
        """Those of `names` (a domain, or `*.` and one) that the certificate is not for."""
        known = dns_names(self._first)
        return [name for name in names if name not in known]

    def context(self, *protocols: str) -> ssl.SSLContext:
        """A server's TLS context that agrees to `protocols` (ALPN); the same one each time.

        Raises ssl.SSLError.
        """
        if protocols not in self._contexts:
            self._contexts[protocols] = browser_context(self._chain, self._key, protocols)
        return self._contexts[protocols]


def load_identity(
    certificate: Path | None, key: Path | None, state_dir: Path | None, domain: str
) -> ServerIdentity:
    """The relay's identity from files, or self-made and kept in `state_dir`. Raises VshareError."""
    if certificate is not None:
        return read_identity(certificate, key)
    try:
        key_pem = kept(state_dir and state_dir / "relay.key", make_key())
        made = make_certificate(key_pem, domain, datetime.datetime.now(datetime.UTC))
        path = state_dir and state_dir / f"relay-{domain}.pem"
        identity = ServerIdentity(kept(path, made), key_pem)
        identity.context()
    except (OSError, ValueError, ssl.SSLError) as error:
        raise VshareError(
            f"the relay's own certificate cannot be used: {_reason(error)}",
            f"remove relay.key and relay-{domain}.pem from {state_dir}: they are made anew, and the"
            " relay's address changes",
        ) from error
    return identity


def read_identity(certificate: Path, key: Path | None) -> ServerIdentity:
    """The identity in PEM files; without `key` both are in `certificate`. Raises VshareError."""
    try:
        identity = ServerIdentity(certificate.read_bytes(), (key or certificate).read_bytes())
        identity.context()
    except (OSError, ValueError, ssl.SSLError) as error:
        raise VshareError(
            f"the relay's certificate or key cannot be used: {_reason(error)}",
            "--cert takes a PEM file with the chain, --key the PEM file of its private key",
        ) from error
    return identity


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError) and error.reason == "KEY_VALUES_MISMATCH":
        return "the private key is not the certificate's"
    return str(error)
