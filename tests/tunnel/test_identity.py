from __future__ import annotations

import datetime
import ssl

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from tunnel.errors import RemoteProtocolError
from tunnel.identity import (
    Authority,
    Identity,
    Role,
    client_context,
    join_client_context,
    join_server_context,
    key_of_request,
    load_identity,
    load_public_der,
    make_key,
    make_request,
    parse_peer,
    public_der,
    require_issued,
    require_share,
    server_context,
)

NOW = datetime.datetime.now(datetime.UTC)
ALPN = "vshare/1"


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority("frosty-weasel-0857", NOW)


def client_identity(authority: Authority, role: Role = Role.GUEST, name: str = "bob") -> Identity:
    key = make_key()
    return Identity(key, authority.issue(role, name, key.public_key()), authority.certificate)


def self_signed(san: str) -> Identity:
    """What anybody can make: it says that it is the share."""
    other = Authority("frosty-weasel-0857", NOW)
    return other.issue_share()


class Side:
    """One side of a handshake in memory."""

    def __init__(self, context: ssl.SSLContext, *, server: bool) -> None:
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_side=server)
        self.done = False
        self.error: ssl.SSLError | None = None

    def step(self) -> None:
        if self.done or self.error:
            return
        try:
            self.tls.do_handshake()
            self.done = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            self.error = error


def shake_hands(client: ssl.SSLContext, server: ssl.SSLContext) -> tuple[Side, Side]:
    one, other = Side(client, server=False), Side(server, server=True)
    for _ in range(6):
        one.step()
        other.incoming.write(one.outgoing.read())
        other.step()
        one.incoming.write(other.outgoing.read())
    return one, other


def fake_server(identity: Identity) -> ssl.SSLContext:
    """A server of an attacker's: any certificate, no questions."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols([ALPN])
    load_identity(context, identity.key, identity.certificate)
    return context


def test_guest_and_share_shake_hands(authority: Authority) -> None:
    guest = client_identity(authority)
    client, server = shake_hands(
        client_context(guest, ALPN), server_context(authority.issue_share(), ALPN)
    )
    assert client.done
    assert server.done
    require_share(client.tls.getpeercert(True))
    peer = parse_peer(server.tls.getpeercert(True))
    assert (peer.role, peer.name) == (Role.GUEST, "bob")
    assert client.tls.version() == "TLSv1.3"


@pytest.mark.parametrize("role", [Role.GATEWAY, Role.GUEST])
def test_a_clients_certificate_cannot_be_a_server(authority: Authority, role: Role) -> None:
    """By its purpose (EKU) alone: before the SAN is looked at."""
    guest, attacker = client_identity(authority), client_identity(authority, role)
    client, _ = shake_hands(client_context(guest, ALPN), fake_server(attacker))
    assert isinstance(client.error, ssl.SSLCertVerificationError)
    assert "purpose" in client.error.verify_message


def test_another_authoritys_share_is_refused(authority: Authority) -> None:
    guest = client_identity(authority)
    client, _ = shake_hands(client_context(guest, ALPN), fake_server(self_signed("x")))
    assert isinstance(client.error, ssl.SSLCertVerificationError)


def test_the_authoritys_own_certificate_cannot_be_a_server(authority: Authority) -> None:
    # Only the share has this key; but a CA certificate must not pass for a server's anyway.
    with pytest.raises(RemoteProtocolError):
        require_share(authority.certificate)


@pytest.mark.parametrize("role", [Role.GATEWAY, Role.GUEST])
def test_the_san_is_the_shares_alone(authority: Authority, role: Role) -> None:
    with pytest.raises(RemoteProtocolError):
        require_share(client_identity(authority, role).certificate)
    with pytest.raises(RemoteProtocolError):
        require_share(None)
    require_share(authority.issue_share().certificate)


def test_client_without_a_certificate_is_refused(authority: Authority) -> None:
    context = join_client_context(ALPN)
    _, server = shake_hands(context, server_context(authority.issue_share(), ALPN))
    assert server.error is not None
    assert "PEER_DID_NOT_RETURN_A_CERTIFICATE" in str(server.error)


def test_client_of_another_share_is_refused(authority: Authority) -> None:
    other = client_identity(Authority("frosty-weasel-0857", NOW))
    context = join_client_context(ALPN)
    load_identity(context, other.key, other.certificate)
    _, server = shake_hands(context, server_context(authority.issue_share(), ALPN))
    assert isinstance(server.error, ssl.SSLCertVerificationError)


def test_the_shares_certificate_cannot_be_a_client(authority: Authority) -> None:
    share = authority.issue_share()
    context = join_client_context(ALPN)
    load_identity(context, share.key, share.certificate)
    _, server = shake_hands(context, server_context(share, ALPN))
    assert isinstance(server.error, ssl.SSLCertVerificationError)
    assert "purpose" in server.error.verify_message
    with pytest.raises(RemoteProtocolError):
        parse_peer(share.certificate)


def test_tls_1_2_is_refused(authority: Authority) -> None:
    guest = client_identity(authority)
    for server_side in (server_context, join_server_context):
        context = client_context(guest, ALPN)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        client, server = shake_hands(context, server_side(authority.issue_share(), ALPN))
        assert server.error is not None
        assert client.error is not None


def test_no_session_tickets(authority: Authority) -> None:
    guest, share = client_identity(authority), authority.issue_share()
    for server_side in (server_context, join_server_context):
        client, server = shake_hands(client_context(guest, ALPN), server_side(share, ALPN))
        server.tls.write(b"x")
        client.incoming.write(server.outgoing.read())
        assert client.tls.read(1) == b"x"  # a ticket would have come before it
        session = client.tls.session
        assert session is None or not session.has_ticket


def test_only_the_key_of_a_request_counts(authority: Authority) -> None:
    key = make_key()
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "share"),
                x509.NameAttribute(NameOID.COMMON_NAME, "alice"),
            ]
        )
    )
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
    builder = builder.add_extension(
        x509.SubjectAlternativeName([x509.DNSName("share.vshare.invalid")]), False
    )
    request = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)
    certificate = authority.issue(Role.GUEST, "bob", key_of_request(request))
    parsed = x509.load_der_x509_certificate(certificate)
    assert not parsed.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    with pytest.raises(x509.ExtensionNotFound):
        parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert parse_peer(certificate).role is Role.GUEST


def test_a_share_is_not_issued_to_a_request(authority: Authority) -> None:
    with pytest.raises(ValueError, match="issue_share"):
        authority.issue(Role.SHARE, "x", make_key().public_key())


def signed_request(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x")])
    builder = x509.CertificateSigningRequestBuilder().subject_name(name)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def hostile_requests() -> list[bytes]:
    good = make_request(make_key(), "bob")
    ed = ed25519.Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x")])
    edwards = x509.CertificateSigningRequestBuilder().subject_name(name).sign(ed, None)
    p256 = bytes.fromhex("06082a8648ce3d030107")
    return [
        b"",
        b"\x30\x00",
        good[:-1],
        good + b"x",
        good[:-5] + bytes(5),  # the signature
        good.replace(p256, bytes.fromhex("06082a8648ce3d030177")),  # no such curve
        good.replace(bytes.fromhex("06072a8648ce3d0201"), bytes.fromhex("06072a8648ce3d0277")),
        good.replace(bytes.fromhex("06082a8648ce3d040302"), bytes.fromhex("06082a8648ce3d040377")),
        signed_request(ec.generate_private_key(ec.SECP384R1())),
        signed_request(ec.generate_private_key(ec.BrainpoolP256R1())),
        signed_request(rsa.generate_private_key(65_537, 2048)),
        edwards.public_bytes(serialization.Encoding.DER),
    ]


@pytest.mark.parametrize("request_der", hostile_requests())
def test_hostile_requests_are_the_peers_fault(request_der: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        key_of_request(request_der)


GOOD_REQUEST = make_request(make_key(), "bob")
GOOD_KEY = public_der(make_key().public_key())


@given(st.integers(0, len(GOOD_REQUEST) - 1), st.integers(1, 255))
def test_a_changed_request_is_never_taken(at: int, flip: int) -> None:
    changed = bytearray(GOOD_REQUEST)
    changed[at] ^= flip
    with pytest.raises(RemoteProtocolError):
        key_of_request(bytes(changed))


@given(st.binary(max_size=200) | st.just(GOOD_KEY).map(lambda key: key[:-1]))
def test_garbage_is_no_public_key(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        load_public_der(data)


def test_public_key_round_trip() -> None:
    assert public_der(load_public_der(GOOD_KEY)) == GOOD_KEY
    unknown = GOOD_KEY.replace(bytes.fromhex("2a8648ce3d0201"), bytes.fromhex("2a8648ce3d0277"))
    with pytest.raises(RemoteProtocolError):
        load_public_der(unknown)


@pytest.mark.parametrize("name", ["", "x" * 200, "\N{WEARY CAT FACE}" * 40, "a\udc80b", "\x00"])
def test_any_name_fits_a_certificate(authority: Authority, name: str) -> None:
    assert key_of_request(make_request(make_key(), name))
    assert parse_peer(client_identity(authority, name=name).certificate).role is Role.GUEST
    assert Authority(name, NOW).certificate


def test_what_was_issued_is_checked(authority: Authority) -> None:
    good = client_identity(authority)
    require_issued(good)
    other = Authority("frosty-weasel-0857", NOW)
    for bad in (
        Identity(make_key(), good.certificate, good.ca),
        Identity(good.key, good.certificate, other.certificate),
        Identity(good.key, b"garbage", good.ca),
        Identity(good.key, good.certificate, b"garbage"),
        Identity(good.key, good.certificate, b""),
    ):
        with pytest.raises(RemoteProtocolError):
            require_issued(bad)
