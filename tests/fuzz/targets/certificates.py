"""DER of strangers: certificate requests, public keys, certificates. Seeds are in the corpus."""

from __future__ import annotations

from tests.fuzz.target import Target, choose, require
from tunnel.errors import RemoteProtocolError
from tunnel.identity import (
    Identity,
    Role,
    key_of_request,
    load_public_der,
    make_key,
    parse_peer,
    public_der,
    require_issued,
    require_share,
)

WORDS = (
    bytes.fromhex("06082a8648ce3d030107"),  # the curve P-256
    bytes.fromhex("06052b81040022"),  # P-384
    bytes.fromhex("06072a8648ce3d0201"),  # an EC key
    bytes.fromhex("06092a864886f70d010101"),  # an RSA key
    bytes.fromhex("06032b6570"),  # Ed25519
    bytes.fromhex("0603550403"), bytes.fromhex("060355040b"), bytes.fromhex("0603551d11"),
    b"\x30\x80", b"\x30\x84\xff\xff\xff\xff", b"\x03\x02\x00", b"\x02\x01\x00", b"\xa0\x00",
    b"\x0c\x05guest", b"\x0c\x05share", b"\x0c\x07gateway", b"\x1e\x02\x00", b"\x17\x0d", b"\x05\0",
)  # fmt: skip


def run_request(data: bytes) -> None:
    key = key_of_request(data)
    require(load_public_der(public_der(key)) == key, "a key survives being written")


def run_public_key(data: bytes) -> None:
    key = load_public_der(data)
    require(load_public_der(public_der(key)) == key, "a key survives being written")


def run_peer(data: bytes) -> None:
    """A certificate is verified by TLS before; that is not counted on here."""
    which, data = choose(data)
    if which & 1:
        require_share(data)
        return
    peer = parse_peer(data)
    require(peer.role is not Role.SHARE, "a share is no client")
    require(len(peer.fingerprint) == 64, "a fingerprint is SHA-256")


_KEY = make_key()


def run_issued(data: bytes) -> None:
    """What a share issued, as a guest checks it before it writes it down."""
    size, data = choose(data)
    certificate = data[: size * 4]
    require_issued(Identity(_KEY, certificate, data[len(certificate) :]))
    raise AssertionError("a certificate for a key that nobody has")


_ONLY = (RemoteProtocolError,)
_MODULES = ("tunnel.identity",)
TARGETS = (
    Target("certificate-request", run_request, _ONLY, (b"",), _MODULES, WORDS, None, 2048),
    Target("public-key", run_public_key, _ONLY, (b"",), _MODULES, WORDS, None, 512),
    Target("peer-certificate", run_peer, _ONLY, (b"",), _MODULES, WORDS, None, 2048),
    Target("issued-certificate", run_issued, _ONLY, (b"",), _MODULES, WORDS, None, 2048),
)
