from __future__ import annotations

import ssl

import pytest

from tunnel.alerts import AccessLostError, ShareNotFoundError, explain
from tunnel.codes import Code, code_for_os_error
from tunnel.errors import (
    LocalProtocolError,
    LostError,
    RefusedError,
    RemoteProtocolError,
    UsageError,
    VshareError,
)


def tls_error(reason: str) -> ssl.SSLError:
    error = ssl.SSLError(1, f"[SSL: {reason}] text (_ssl.c:1)")
    error.reason = reason
    return error


@pytest.mark.parametrize(
    ("reason", "kind", "text"),
    [
        ("TLSV1_UNRECOGNIZED_NAME", ShareNotFoundError, "the relay has no share named 'x'"),
        ("TLSV1_ALERT_ACCESS_DENIED", LostError, "refuses more connections"),
        ("TLSV1_ALERT_EXPORT_RESTRICTION", LostError, "moves no more for 'x' today"),
        ("TLSV1_ALERT_INTERNAL_ERROR", LostError, "does not answer"),
        ("TLSV13_ALERT_CERTIFICATE_REQUIRED", AccessLostError, "does not take this certificate"),
        ("TLSV1_ALERT_UNKNOWN_CA", AccessLostError, "does not take this certificate"),
        ("WRONG_VERSION_NUMBER", LostError, "no connection to the share 'x'"),
    ],
)
def test_alerts_in_words_also_where_they_came_after_the_handshake(
    reason: str, kind: type[VshareError], text: str
) -> None:
    late = LostError("the connection was lost")
    late.__cause__ = tls_error(reason)
    for error in (tls_error(reason), late):
        explained = explain(error, "x")
        assert type(explained) is kind
        assert text in explained.text


def test_whoever_is_not_the_share() -> None:
    error = ssl.SSLCertVerificationError(1, "text")
    error.verify_message = "self-signed certificate"
    explained = explain(error, "x")
    assert isinstance(explained, AccessLostError)  # trying again would not help
    assert "is not the share that was joined: self-signed certificate" in explained.text


def test_turned_away_is_for_good() -> None:
    explained = explain(RefusedError(Code.NOT_ALLOWED, "you were removed"), "x")
    assert isinstance(explained, AccessLostError)
    assert "you were removed" in explained.text


def test_other_errors() -> None:
    refused = RefusedError(Code.BUSY, "full")
    assert explain(refused, "x") is refused
    assert "in time" in explain(TimeoutError(), "x").text
    assert explain(OSError(5, "broken"), "x").text.endswith("[Errno 5] broken")


def test_codes_of_numbers_and_of_system_errors() -> None:
    assert Code.from_wire(2) is Code.CONNECTION_REFUSED
    assert Code.from_wire(9999) is Code.from_wire(-1) is Code.INTERNAL
    assert code_for_os_error(ConnectionRefusedError(111, "")) is Code.CONNECTION_REFUSED
    assert code_for_os_error(TimeoutError()) is Code.TIMED_OUT
    assert code_for_os_error(OSError()) is Code.INTERNAL


def test_errors_carry_what_the_user_needs() -> None:
    assert (UsageError("t", "h").exit_code, UsageError("t", "h").hint) == (2, "h")
    assert RemoteProtocolError("t").code is Code.PROTOCOL_ERROR
    assert (LocalProtocolError("t").exit_code, str(LocalProtocolError("t"))) == (1, "t")
