"""PostgreSQL that trusts whoever comes: the superuser is let in without a password. Pure.

Protocol 3.0, https://www.postgresql.org/docs/current/protocol-message-formats.html: after
StartupMessage, AuthenticationOk is the method `trust` of pg_hba.conf, whether the role is
there or not. Connections that the server takes over TLS only are not tried.
"""

from __future__ import annotations

import struct

from tunnel.errors import RemoteProtocolError
from vshare.weaknesses.danger import SOUND, WEAK, Verdict, Weakness
from vshare.weaknesses.dialogue import Conversation, Step

PORT = 5432
PROCESSES = frozenset({"postgres", "postmaster"})
WEAKNESS = Weakness(
    "PostgreSQL without a password",
    "a guest is its superuser: he can read and change everything in it, and run programs as it",
    "replace trust by scram-sha-256 in pg_hba.conf, and give the role postgres a password",
)
_PROTOCOL_3_0 = 0x0003_0000
_USER = b"user\0postgres\0database\0postgres\0\0"
_STARTUP = struct.pack(">II", 8 + len(_USER), _PROTOCOL_3_0) + _USER
_HEADER = struct.Struct(">cI")
_LENGTH_SIZE = 4  # a message's length counts itself
_AUTHENTICATION_OK = 0
_NO_ENTRY = b"28000"  # invalid_authorization_specification: no line of pg_hba.conf fits
MAX_MESSAGE = 8 * 1024  # error messages quote what they are about, and have some more fields


def converse() -> Conversation:
    """Come in as the superuser."""
    kind, length = _HEADER.unpack((yield Step(_STARTUP, _HEADER.size)))
    size = length - _LENGTH_SIZE
    if kind not in (b"R", b"E") or not 1 <= size <= MAX_MESSAGE:
        raise RemoteProtocolError("it does not answer as PostgreSQL does")
    body = yield Step(count=size)
    if kind == b"R":
        if size < 4:
            raise RemoteProtocolError("it does not answer as PostgreSQL does")
        return WEAK if int.from_bytes(body[:4], "big") == _AUTHENTICATION_OK else SOUND
    if _sqlstate(body) == _NO_ENTRY:
        return Verdict(note="it takes no connection from here without TLS; with TLS is not tried")
    return SOUND


def _sqlstate(body: bytes) -> bytes:
    """Field C of an ErrorResponse; b"" without one."""
    for field in body.split(b"\0"):
        if field[:1] == b"C":
            return field[1:]
    return b""
