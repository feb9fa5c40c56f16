"""What the server says here was recorded from MariaDB 10.11.19 (Debian 12), which was asked by this
very code, as root without a password and with one, with other methods, and locked."""

from __future__ import annotations

import asyncio

import pytest

from tests.vshare.weaknesses.servers import ask_fake, hear
from vshare.weaknesses import mysql
from vshare.weaknesses.danger import SOUND, WEAK, Verdict

GREETING = (
    b"d\x00\x00\x00\n5.5.5-10.11.19-MariaDB-0+deb12u1\x00\x04\x00\x00\x00~E~k|NO#\x00\xfe\xf7\x08"
    b"\x02\x00\xff\x81\x15\x00\x00\x00\x00\x00\x00\x1d\x00\x00\x00^3$Xm@5'dB[&\x00"
    b"mysql_native_password\x00"
)
OK = b"\x07\x00\x00\x02\x00\x00\x00\x02\x00\x00\x00"
DENIED = (
    b"G\x00\x00\x02\xff\x15\x04#28000Access denied for user 'root'@'localhost' (using password: NO)"
)
SWITCH = b",\x00\x00\x02\xfemysql_native_password\x00:<`MBCiiQ:m7h*6lCH}^\x00"
SWITCH_ED25519 = (
    b"0\x00\x00\x02\xfeclient_ed25519\x00\x9c\xefJ\x88\x9b\xac\xf2\xe6\xe4\xe5\xf7\x07c\x0f\xe6\x06"
    b'\xd1\xe1\xb9(U^"\xaca\xd2\xcb9\xcf\x14\xfd?'
)
OK_AFTER_SWITCH = b"\x07\x00\x00\x04\x00\x00\x00\x02\x00\x00\x00"
DENIED_AFTER_SWITCH = (
    b"H\x00\x00\x04\xff\x15\x04#28000"
    b"Access denied for user 'root'@'localhost' (using password: YES)"
)
LOCKED = b".\x00\x00\x02\xff7\x10#HY000Access denied, this account is locked"
# The client's side of the same recordings: what MariaDB took for root without a password.
LOGIN = (
    b"<\x00\x00\x01\x01\x82\x08\x00\x00\x00\x00\x01!\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
    b"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00root\x00\x00mysql_native_password\x00"
)
NOTHING = b"\x00\x00\x00\x03"


@pytest.mark.parametrize(("answer", "verdict"), [(OK, WEAK), (DENIED, SOUND), (LOCKED, SOUND)])
def test_root_at_once(answer: bytes, verdict: Verdict) -> None:
    heard = asyncio.run(ask_fake(mysql.converse, GREETING, len(LOGIN), answer))
    assert heard == (verdict, LOGIN)


@pytest.mark.parametrize(
    ("switch", "answer", "verdict"),
    [
        (SWITCH, OK_AFTER_SWITCH, WEAK),
        (SWITCH_ED25519, DENIED_AFTER_SWITCH, SOUND),
    ],
)
def test_root_by_another_method(switch: bytes, answer: bytes, verdict: Verdict) -> None:
    script = GREETING, len(LOGIN), switch, len(NOTHING), answer
    heard = asyncio.run(ask_fake(mysql.converse, *script))
    assert heard == (verdict, LOGIN + NOTHING)


def packet(payload: bytes, number: int = 0) -> bytes:
    return len(payload).to_bytes(3, "little") + bytes([number]) + payload


def test_what_was_not_recorded() -> None:
    """By the documentation: a host that may not come, more to say (a full exchange), TLS only."""
    assert hear(mysql.converse, packet(b"\xff\x6a\x04Host '192.0.2.1' is not allowed")) == SOUND
    assert hear(mysql.converse, GREETING + packet(b"\x01\x04", 2)) == SOUND
    tls_only = packet(b"\xff" + (3159).to_bytes(2, "little") + b"#08004Connections using ...", 2)
    verdict = hear(mysql.converse, GREETING + tls_only)
    assert verdict is not None
    assert not verdict.weak
    assert "TLS" in verdict.note


@pytest.mark.parametrize(
    "answer", [b"\0\0\0\0", b"SSH-2.0-OpenSSH\r\n", packet(b"\x09old\0"), b"\xff" * 9]
)
def test_other_answers_are_noted(answer: bytes) -> None:
    for size in (0, 1):
        verdict = hear(mysql.converse, answer, size)
        assert verdict is not None
        assert not verdict.weak
        assert "MySQL" in verdict.note


def test_byte_by_byte() -> None:
    for answer, verdict in ((OK, WEAK), (DENIED, SOUND), (SWITCH + OK_AFTER_SWITCH, WEAK)):
        assert hear(mysql.converse, GREETING + answer, 1) == verdict
        assert hear(mysql.converse, (GREETING + answer)[:-1], 1) is None
