"""How the nodes of a cluster know each other: by a secret that all of them have.

From the secret each node derives the same CA key, and issues itself a certificate with it; so
nothing has to be handed out, and Redis is not asked whom to trust (docs/protocol.md 4.3).
"""

from __future__ import annotations

import datetime
import ssl

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tunnel.errors import UsageError
from tunnel.identity import load_identity, make_key

LEAST_SECRET = 32  # characters; who dials a node may try secrets on its certificate at leisure
ALPN = "vshare-node/1"
SUFFIX = "node.vshare.invalid"
_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # P-256, FIPS 186-5
_KEY_SIZE = 40  # bytes: 64 bits more than the order has, so that no key is likelier (A.2.1 there)
_BEFORE = datetime.timedelta(days=1)  # clocks differ
_LASTS = datetime.timedelta(days=3650)  # the node makes another one whenever it starts
_CA = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "vshare cluster CA")])


def host_of(node: str) -> str:
    """The name in the certificate of the node with that ID."""
    return f"{node}.{SUFFIX}"


class ClusterTrust:
    """One node's certificate, and what verifies the others'. Raises UsageError for a short
    secret."""

    def __init__(self, secret: str, node: str, now: datetime.datetime) -> None:
        if len(secret) < LEAST_SECRET:
            raise UsageError(
                f"the cluster's secret has {len(secret)} characters; it takes {LEAST_SECRET}",
                "make one with `openssl rand -hex 32`, the same for all nodes",
            )
        self._ca_key, self._now = _ca_key(secret), now
        self._key = make_key()
        ca = self._builder(_CA, self._ca_key.public_key())
        ca = ca.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        self._ca = ca.sign(self._ca_key, hashes.SHA256()).public_bytes(Encoding.DER)
        self._certificate = self._issue(node)

    def server_context(self) -> ssl.SSLContext:
        """For the node's port: who comes has to be a node."""
        context = self._context(ssl.PROTOCOL_TLS_SERVER)
        context.num_tickets = 0
        context.verify_mode = ssl.CERT_REQUIRED
        return context

    def client_context(self) -> ssl.SSLContext:
        """For dialling; `server_hostname` is `host_of` the node that is meant."""
        return self._context(ssl.PROTOCOL_TLS_CLIENT)

    def _context(self, protocol: int) -> ssl.SSLContext:
        context = ssl.SSLContext(protocol)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.set_alpn_protocols([ALPN])
        context.load_verify_locations(cadata=self._ca)
        load_identity(context, self._key, self._certificate)
        return context

    def _issue(self, node: str) -> bytes:
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "node")])
        both = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        names = x509.SubjectAlternativeName([x509.DNSName(host_of(node))])
        leaf = (
            self._builder(subject, self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage(both), critical=True)
            .add_extension(names, critical=False)
        )
        return leaf.sign(self._ca_key, hashes.SHA256()).public_bytes(Encoding.DER)

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey
    ) -> x509.CertificateBuilder:
        issuer = self._ca_key.public_key()
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(_CA)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(self._now - _BEFORE)
            .not_valid_after(self._now + _LASTS)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer), False)
        )


def _ca_key(secret: str) -> ec.EllipticCurvePrivateKey:
    kdf = HKDF(hashes.SHA256(), _KEY_SIZE, salt=None, info=b"vshare-cluster-ca/1")
    number = int.from_bytes(kdf.derive(secret.encode())) % (_ORDER - 1) + 1
    return ec.derive_private_key(number, ec.SECP256R1())
