"""TLS towards browsers: the server's context, and certificates that are self-made. For who ends
browsers' TLS, the relay or the share."""

from __future__ import annotations

import datetime
import ssl
from collections.abc import Sequence

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tunnel.identity import memory_file

BACKDATED = datetime.timedelta(days=1)  # clocks are wrong
MAX_COMMON_NAME = 64  # characters, X.520
# Only what encrypts and authenticates in one, with forward secrecy (RFC 9325 4.2).
TLS_1_2_SUITES = "ECDHE+AESGCM:ECDHE+CHACHA20"


def browser_context(chain: bytes, key: bytes, protocols: Sequence[str]) -> ssl.SSLContext:
    """A server's, with a certificate chain and its private key (PEM), that agrees to `protocols`
    (ALPN). Raises ssl.SSLError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(TLS_1_2_SUITES)  # those of 1.3 are all fit
    # OpenSSL's key for 1.2's tickets lasts as long as the process: no forward secrecy. What
    # it resumes by session id instead, it keeps for 5 minutes, and 20,480 at most.
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION
    context.num_tickets = 0  # parked connections become plain TCP: nothing may follow
    context.set_alpn_protocols(list(protocols))
    with memory_file(chain) as chain_file, memory_file(key) as key_file:
        # A password, or a terminal would be asked.
        context.load_cert_chain(chain_file, key_file, password="")
    return context


def dns_names(certificate: x509.Certificate) -> set[str]:
    """The host names that it is for, in lower case; none where it names none."""
    try:
        extensions = certificate.extensions
        names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return set()
    return {name.lower() for name in names.get_values_for_type(x509.DNSName)}


def self_signed(
    key: ec.EllipticCurvePrivateKey,
    names: Sequence[x509.GeneralName],
    now: datetime.datetime,
    lasts: datetime.timedelta,
) -> bytes:
    """A server's certificate (PEM) for `names`, the first of them its own."""
    own = x509.Name(
        [x509.NameAttribute(NameOID.COMMON_NAME, str(names[0].value)[:MAX_COMMON_NAME])]
    )
    certificate = (
        x509.CertificateBuilder()
        .subject_name(own)
        .issuer_name(own)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + lasts)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM)
