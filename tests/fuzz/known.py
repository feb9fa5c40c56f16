"""Findings that are not mended yet: by target, what an input runs into, and what is wrong.

A finding that is here does not fail `python -m tests.fuzz`; it is counted as known. A line
whose finding is mended must go: test_fuzz.py holds that each still happens.
"""

from __future__ import annotations

KNOWN: dict[str, dict[str, str]] = {
    "http-request": {
        "Forwarded says what we say": (
            'a Host such as `NAME--";for=1;x=".DOMAIN` ends the quoted host in Forwarded'
            " (relay/http_rules.py): a visitor says where it comes from"
        ),
    },
    "http-conversation": {
        "LocalProtocolError in relay/exchange.py:_send": (
            "trailers of an answer to an HTTP/1.0 request with a body: the error comes out of"
            " Conversation.run in an ExceptionGroup, and the relay's log calls it a bug"
        ),
    },
    "peer-certificate": {
        "ValueError in tunnel/identity.py:parse_peer": (
            "a certificate that OpenSSL takes and cryptography does not is no RemoteProtocolError"
        ),
        "ValueError in tunnel/identity.py:require_share": "the same, from a share",
    },
}
