from __future__ import annotations

import pytest

from tests.tunnel.doctor.test_way import DAY, NOW, certificate
from tunnel.doctor.certificate import issuer_of, valid_until
from tunnel.doctor.finding import FailedError


def test_who_issued_it() -> None:
    assert issuer_of(certificate("Corp\x1b CA")[0]) == "Corp\x1b CA"  # whoever shows it cleans it
    assert len(issuer_of(certificate("x" * 64)[0])) == 64
    assert issuer_of(certificate("relay.test")[0]) == "itself (relay.test)"
    assert issuer_of(b"junk") == "nobody that could be read"


def test_until_when() -> None:
    der, _ = certificate(starts=NOW, days=30)
    assert valid_until(der, NOW + DAY)[1] is False
    text, soon = valid_until(der, NOW + 20 * DAY)
    assert soon
    assert text == f"valid until {NOW + 30 * DAY:%Y-%m-%d}"
    for moment, words in ((NOW - DAY, "valid from"), (NOW + 31 * DAY, "expired on")):
        with pytest.raises(FailedError, match=words):
            valid_until(der, moment)
    with pytest.raises(FailedError, match="could not be read"):
        valid_until(b"junk", NOW)
