"""The share's own CA, the certificates it issues, and the TLS contexts made of them.

docs/protocol.md 1. A role is written in three places that must agree: the subject's OU, the
extended key usage that OpenSSL checks by purpose, and, for the share, a fixed SAN. Without
the key usage the gateway, which is the relay, could play the share.
"""

from __future__ import annotations

import contextlib
import datetime
import enum
import hashlib
import os
import ssl
from collections.abc import Iterator
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tunnel.errors import RemoteProtocolError

SHARE_SAN = "share.vshare.invalid"
MAX_NAME = 64  # bytes of UTF-8: RFC 5280 A.1 ub-common-name
_BEFORE = datetime.timedelta(days=1)  # clocks are wrong
_AFTER = datetime.timedelta(days=3650)  # expiry is policy, not a date in a certificate
_CURVE = ec.SECP256R1()

PrivateKey = ec.EllipticCurvePrivateKey
PublicKey = ec.EllipticCurvePublicKey


class Role(enum.Enum):
    """Who a certificate speaks for."""

    SHARE = "share"
    GUEST = "guest"
    GATEWAY = "gateway"


@dataclass(frozen=True, slots=True)
class Identity:
    """A key with its certificate, and the CA (all DER) that the other side must be of.

    `route` is a guest's: where the relay finds the share (docs/protocol.md 3).
    """

    key: PrivateKey
    certificate: bytes
    ca: bytes
    route: str = ""


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end: from a certificate that TLS has verified already."""

    role: Role
    name: str
    fingerprint: str  # SHA-256 of the certificate, hex


def make_key() -> PrivateKey:
    """A fresh P-256 key."""
    return ec.generate_private_key(_CURVE)


def private_pem(key: PrivateKey) -> bytes:
    """A private key, PEM, not encrypted."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def public_der(key: PublicKey) -> bytes:
    """`key` as DER SubjectPublicKeyInfo."""
    return key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def load_public_der(data: bytes) -> PublicKey:
    """The P-256 key in a DER SubjectPublicKeyInfo. Raises RemoteProtocolError."""
    try:
        key = serialization.load_der_public_key(data)
    except Exception as error:  # see key_of_request
        raise RemoteProtocolError(f"not a public key: {error}") from error
    return _require_p256(key)


def make_request(key: PrivateKey, name: str) -> bytes:
    """A certificate request (RFC 2986, DER) for `key`."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(_subject(Role.GUEST, name))
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def key_of_request(request: bytes) -> PublicKey:
    """The key of a certificate request, and nothing else of it. Raises RemoteProtocolError."""
    try:
        parsed = x509.load_der_x509_csr(request)
        valid, key = parsed.is_signature_valid, parsed.public_key()
    except Exception as error:  # hostile DER raises ValueError, InvalidVersion, and others yet
        raise RemoteProtocolError(f"not a certificate request: {error}") from error
    if not valid:
        raise RemoteProtocolError("the certificate request's signature is not valid")
    return _require_p256(key)


def _require_p256(key: object) -> PublicKey:
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != _CURVE.name:
        raise RemoteProtocolError("only P-256 keys are taken")
    return key


def _subject(role: Role, name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, role.value),
            x509.NameAttribute(NameOID.COMMON_NAME, _fitting(name, MAX_NAME) or "unnamed"),
        ]
    )


def _fitting(name: str, size: int) -> str:
    """As much of `name` as `size` bytes of UTF-8 hold."""
    return name.encode("utf-8", "replace")[:size].decode("utf-8", "ignore")


class Authority:
    """A share's CA. Its key lives as long as the share's process."""

    def __init__(self, share_name: str, now: datetime.datetime) -> None:
        self._key = make_key()
        self._now = now
        title = f"{_fitting(share_name, MAX_NAME - len(' CA'))} CA"
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, title)])
        usage = _usage(key_cert_sign=True, crl_sign=True)
        certificate = (
            self._builder(self._name, self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.certificate = certificate.public_bytes(serialization.Encoding.DER)

    def issue_share(self) -> Identity:
        """The share's own identity: a server and nothing else."""
        key = make_key()
        names = x509.SubjectAlternativeName([x509.DNSName(SHARE_SAN)])
        certificate = self._issue(Role.SHARE, "share", key.public_key(), names)
        return Identity(key, certificate, self.certificate)

    def issue(self, role: Role, name: str, key: PublicKey) -> bytes:
        """A client's certificate (DER) for `key`; `role` is GUEST or GATEWAY."""
        if role is Role.SHARE:
            raise ValueError("a share's certificate is made by issue_share alone")
        return self._issue(role, name, key, None)

    def _issue(
        self, role: Role, name: str, key: PublicKey, names: x509.SubjectAlternativeName | None
    ) -> bytes:
        server = role is Role.SHARE
        purpose = ExtendedKeyUsageOID.SERVER_AUTH if server else ExtendedKeyUsageOID.CLIENT_AUTH
        builder = (
            self._builder(_subject(role, name), key)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(digital_signature=True), critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=True)
        )
        if names is not None:
            builder = builder.add_extension(names, critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        return certificate.public_bytes(serialization.Encoding.DER)

    def _builder(self, subject: x509.Name, key: PublicKey) -> x509.CertificateBuilder:
        own = self._key.public_key()
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(self._now - _BEFORE)
            .not_valid_after(self._now + _AFTER)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(own), critical=False)
        )


def _usage(
    *, digital_signature: bool = False, key_cert_sign: bool = False, crl_sign: bool = False
) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        encipher_only=False,
        decipher_only=False,
    )


def _base_context(protocol: int, alpn: str) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols([alpn])
    return context


def client_context(identity: Identity, alpn: str) -> ssl.SSLContext:
    """For a guest or the gateway: shows its certificate, verifies the share's against its CA.

    The SAN is checked by `require_share` after the handshake, because the SNI carries the
    share's name for the relay while the certificate has one fixed name.
    """
    context = _base_context(ssl.PROTOCOL_TLS_CLIENT, alpn)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=identity.ca)
    load_identity(context, identity.key, identity.certificate)
    return context


def server_context(identity: Identity, alpn: str) -> ssl.SSLContext:
    """For the share: a client's certificate of its own CA is required. No tickets: a guest
    that was removed could come back with one (RFC 8446 4.6.1)."""
    context = _base_context(ssl.PROTOCOL_TLS_SERVER, alpn)
    context.num_tickets = 0
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=identity.ca)
    load_identity(context, identity.key, identity.certificate)
    return context


def join_server_context(identity: Identity, alpn: str) -> ssl.SSLContext:
    """For the share's joining door: whoever knocks has no certificate yet."""
    context = _base_context(ssl.PROTOCOL_TLS_SERVER, alpn)
    context.num_tickets = 0
    load_identity(context, identity.key, identity.certificate)
    return context


def join_client_context(alpn: str) -> ssl.SSLContext:
    """For joining, and for that alone: the certificate is taken as it is seen, since the PAKE
    that follows proves it (docs/protocol.md 7). Nothing is sent that a stranger may not see."""
    context = _base_context(ssl.PROTOCOL_TLS_CLIENT, alpn)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # proven by SPAKE2's idB right after
    return context


def load_identity(context: ssl.SSLContext, key: PrivateKey, certificate: bytes) -> None:
    """Give `context` a key and its certificate (DER) through memory, never through a file."""
    # The key first: OpenSSL tries to read whatever comes before it as one, half a millisecond long.
    pem = private_pem(key) + ssl.DER_cert_to_PEM_cert(certificate).encode()
    with memory_file(pem) as path:
        context.load_cert_chain(path)


@contextlib.contextmanager
def memory_file(content: bytes) -> Iterator[str]:
    """A path to an anonymous file (memfd_create(2)) that only this process can reach, never on a
    disk; it exists as long as the block runs."""
    fd = os.memfd_create("key", os.MFD_CLOEXEC)
    try:
        os.write(fd, content)
        yield f"/proc/self/fd/{fd}"
    finally:
        os.close(fd)


def fingerprint(certificate: bytes) -> str:
    """SHA-256 of a DER certificate, lowercase hex."""
    return hashlib.sha256(certificate).hexdigest()


def parse_peer(certificate: bytes | None) -> Peer:
    """Role and name in a client's verified certificate. Raises RemoteProtocolError."""
    if certificate is None:
        raise RemoteProtocolError("the peer showed no certificate")
    try:
        subject = x509.load_der_x509_certificate(certificate).subject
        units = subject.get_attributes_for_oid(NameOID.ORGANIZATIONAL_UNIT_NAME)
        names = subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    except Exception as error:  # OpenSSL takes DER that this library does not; see key_of_request
        raise RemoteProtocolError(f"a certificate that does not parse: {error}") from error
    try:
        role = Role(str(units[0].value))
    except (IndexError, ValueError):
        raise RemoteProtocolError("the peer's certificate has no known role") from None
    if role is Role.SHARE:
        raise RemoteProtocolError("a share's certificate cannot be a client's")
    return Peer(role, str(names[0].value) if names else "", fingerprint(certificate))


def require_issued(identity: Identity) -> None:
    """Raise RemoteProtocolError unless the certificate is for the key, and of the CA."""
    try:
        certificate = x509.load_der_x509_certificate(identity.certificate)
        certificate.verify_directly_issued_by(x509.load_der_x509_certificate(identity.ca))
        key = certificate.public_key()
    except Exception as error:  # see key_of_request
        raise RemoteProtocolError(f"what the share issued is not a certificate: {error}") from error
    if key != identity.key.public_key():
        raise RemoteProtocolError("what the share issued is for another key")


def require_share(certificate: bytes | None) -> None:
    """Raise RemoteProtocolError unless the verified certificate is the share's own."""
    if certificate is None:
        raise RemoteProtocolError("the share showed no certificate")
    try:
        extensions = x509.load_der_x509_certificate(certificate).extensions
        names = extensions.get_extension_for_class(x509.SubjectAlternativeName)
        found = names.value.get_values_for_type(x509.DNSName)
    except x509.ExtensionNotFound:
        found = []
    except Exception as error:  # see parse_peer
        raise RemoteProtocolError(f"a certificate that does not parse: {error}") from error
    if found != [SHARE_SAN]:
        raise RemoteProtocolError(
            "whoever answered is not the share: its certificate has another role"
        )
