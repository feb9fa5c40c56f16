"""MySQL or MariaDB whose root needs no password. Pure.

https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_connection_phase.html: the
server greets, the client answers as root with an empty password; another method of
authentication that the server asks for is answered emptily as well. An OK packet is the door.
"""

from __future__ import annotations

import struct
from collections.abc import Generator

from tunnel.errors import RemoteProtocolError
from vshare.weaknesses.danger import SOUND, WEAK, Verdict, Weakness
from vshare.weaknesses.dialogue import Conversation, Step

PORT = 3306
PROCESSES = frozenset({"mysqld", "mariadbd"})
WEAKNESS = Weakness(
    "MySQL without a root password",
    "a guest is its root: he can read and change everything in it",
    "give root a password (ALTER USER), or let it in from localhost only",
)
_HEADER_SIZE = 4  # length (3, little-endian), sequence number
MAX_PACKET = 4 * 1024  # greetings and errors are some hundred bytes
_PROTOCOL_10 = 0x0A
_OK, _ERR, _AUTH_SWITCH = 0x00, 0xFF, 0xFE
_TLS_ONLY = 3159  # ER_SECURE_TRANSPORT_REQUIRED
# CLIENT_LONG_PASSWORD, CLIENT_PROTOCOL_41, CLIENT_SECURE_CONNECTION, CLIENT_PLUGIN_AUTH
_CAPABILITIES = 0x1 | 0x200 | 0x8000 | 0x80000
_UTF8 = 33
_MAX_PACKET_WE_TAKE = 1 << 24
_LOGIN = (
    struct.pack("<IIB23x", _CAPABILITIES, _MAX_PACKET_WE_TAKE, _UTF8)
    + b"root\0"
    + b"\0"  # the length of the answer to the server's challenge: no password
    + b"mysql_native_password\0"
)


def converse() -> Conversation:
    """Log in as root."""
    greeting, number = yield from _receive()
    if greeting[0] == _ERR:
        return _refusal(greeting)
    if greeting[0] != _PROTOCOL_10:
        raise RemoteProtocolError("it does not greet as MySQL does")
    answer, number = yield from _receive(_packet(_LOGIN, number + 1))
    if answer[0] == _AUTH_SWITCH:
        answer, number = yield from _receive(_packet(b"", number + 1))
    if answer[0] == _OK:
        return WEAK
    return _refusal(answer) if answer[0] == _ERR else SOUND


def _receive(send: bytes = b"") -> Generator[Step, bytes, tuple[bytes, int]]:
    """One packet, not empty, and its sequence number."""
    header = yield Step(send, _HEADER_SIZE)
    size = int.from_bytes(header[:3], "little")
    if not 1 <= size <= MAX_PACKET:
        raise RemoteProtocolError("it does not answer as MySQL does")
    return (yield Step(count=size)), header[3]


def _packet(payload: bytes, number: int) -> bytes:
    return len(payload).to_bytes(3, "little") + bytes([number % 256]) + payload


def _refusal(error: bytes) -> Verdict:
    if int.from_bytes(error[1:3], "little") == _TLS_ONLY:
        return Verdict(note="it takes connections with TLS only, which is not tried")
    return SOUND
