"""What a certificate says about who answers: its issuer tells a middle box from a relay. Pure."""

from __future__ import annotations

import datetime

from cryptography import x509
from cryptography.x509.oid import NameOID

from tunnel.doctor.finding import FailedError

SOON = datetime.timedelta(days=14)  # authorities renew 30 days before the end: something is stuck
MAX_NAME = 80  # characters that are shown of a name


def issuer_of(certificate: bytes) -> str:
    """Who signed `certificate` (DER), in a few words."""
    try:
        parsed = x509.load_der_x509_certificate(certificate)
        if parsed.issuer == parsed.subject:
            return f"itself ({_name(parsed.subject)})"
        return _name(parsed.issuer)
    except Exception:  # as in identity.parse_peer: OpenSSL takes DER that this library does not
        return "nobody that could be read"


def _name(name: x509.Name) -> str:
    kinds = (NameOID.ORGANIZATION_NAME, NameOID.COMMON_NAME)
    found = [str(each.value) for kind in kinds for each in name.get_attributes_for_oid(kind)]
    return (", ".join(found) or name.rfc4514_string() or "no name")[:MAX_NAME]


def valid_until(certificate: bytes, now: datetime.datetime) -> tuple[str, bool]:
    """Until when `certificate` (DER) is valid, in words, and whether that is soon.

    Raises FailedError when it is not valid at `now`.
    """
    try:
        parsed = x509.load_der_x509_certificate(certificate)
        start, end = parsed.not_valid_before_utc, parsed.not_valid_after_utc
    except Exception:  # see above
        raise FailedError("the certificate could not be read") from None
    if now < start:
        raise FailedError(
            f"the relay's certificate is valid from {start:%Y-%m-%d} on",
            "set this host's clock; if it is right, the relay's was wrong",
        )
    if now > end:
        raise FailedError(
            f"the relay's certificate expired on {end:%Y-%m-%d}", "who runs the relay must renew it"
        )
    return f"valid until {end:%Y-%m-%d}", end - now < SOON
