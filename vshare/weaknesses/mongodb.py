"""MongoDB without access control: whoever comes may list its databases. Pure.

OP_MSG (https://www.mongodb.com/docs/manual/reference/mongodb-wire-protocol/), which is spoken
since 3.6, around BSON (https://bsonspec.org/spec.html). Written from these documents; no
MongoDB was at hand to try it on.
"""

from __future__ import annotations

import struct

from tunnel.errors import RemoteProtocolError
from vshare.weaknesses.danger import SOUND, WEAK, Weakness
from vshare.weaknesses.dialogue import MAX_ANSWER, Conversation, Step

PORT = 27017
PROCESSES = frozenset({"mongod", "mongos"})
WEAKNESS = Weakness(
    "MongoDB without a password",
    "a guest can read and change everything in it",
    "create an administrator and set security.authorization: enabled in mongod.conf",
)
_HEADER = struct.Struct("<iiii")  # length of all, request, answer to, opcode
_OP_MSG = 2013
_OUR_REQUEST = 1
_FLAGS_AND_KIND = b"\0\0\0\0" + b"\0"  # no flags; one section, which is a document
_COMMAND = (
    b"\x10listDatabases\0" + struct.pack("<i", 1)
    + b"\x08nameOnly\0\x01"
    + b"\x02$db\0" + struct.pack("<i", 6) + b"admin\0"
)  # fmt: skip
_DOCUMENT = struct.pack("<i", 4 + len(_COMMAND) + 1) + _COMMAND + b"\0"
_BODY = _FLAGS_AND_KIND + _DOCUMENT
_REQUEST = _HEADER.pack(_HEADER.size + len(_BODY), _OUR_REQUEST, 0, _OP_MSG) + _BODY

_DOUBLE, _BOOLEAN, _INT32, _INT64 = 0x01, 0x08, 0x10, 0x12
# How long the values of each type are; those that say it themselves are in _value_size.
_FIXED_SIZES = {
    _DOUBLE: 8, 0x06: 0, 0x07: 12, _BOOLEAN: 1, 0x09: 8, 0x0A: 0, _INT32: 4, 0x11: 8,
    _INT64: 8, 0x13: 16, 0x7F: 0, 0xFF: 0,
}  # fmt: skip
_STRINGS = frozenset({0x02, 0x0D, 0x0E})  # string, JavaScript, symbol: length, then as many bytes
_DOCUMENTS = frozenset({0x03, 0x04, 0x0F})  # document, array, code with scope: the length is of all
_BINARY, _REGEX, _POINTER = 0x05, 0x0B, 0x0C
_NUMBERS = {_DOUBLE: "<d", _BOOLEAN: "<?", _INT32: "<i", _INT64: "<q"}
_NOT_MONGODB = "it does not answer as MongoDB does"


def converse() -> Conversation:
    """Ask for the names of its databases."""
    header = yield Step(_REQUEST, _HEADER.size)
    length, _, answers, opcode = _HEADER.unpack(header)
    size = length - _HEADER.size
    if opcode != _OP_MSG or answers != _OUR_REQUEST or not 10 <= size <= MAX_ANSWER:
        raise RemoteProtocolError(_NOT_MONGODB)
    body = yield Step(count=size)
    if body[4] != 0:
        raise RemoteProtocolError(_NOT_MONGODB)
    numbers = parse_numbers(body[len(_FLAGS_AND_KIND) :])
    if "ok" not in numbers:
        raise RemoteProtocolError(_NOT_MONGODB)
    return WEAK if numbers["ok"] == 1 else SOUND


def parse_numbers(document: bytes) -> dict[str, float]:
    """The numbers and booleans at the top of a BSON document, the first of each name.

    What follows the document (a checksum) is not looked at. Raises RemoteProtocolError.
    """
    try:
        return _numbers(document)
    except (struct.error, ValueError, IndexError):
        raise RemoteProtocolError(_NOT_MONGODB) from None


def _numbers(document: bytes) -> dict[str, float]:
    (end,) = struct.unpack_from("<i", document)
    if not 5 <= end <= len(document) or document[end - 1] != 0:
        raise ValueError("the length is wrong")
    numbers: dict[str, float] = {}
    at = 4
    while at < end - 1:
        kind = document[at]
        name_end = document.index(b"\0", at, end)
        name = document[at + 1 : name_end].decode("utf-8", "replace")
        at = name_end + 1
        size = _value_size(document, kind, at, end)
        if not 0 <= size <= end - 1 - at:
            raise ValueError("a value is longer than the document")
        if kind in _NUMBERS:
            numbers.setdefault(name, struct.unpack_from(_NUMBERS[kind], document, at)[0])
        at += size
    return numbers


def _value_size(document: bytes, kind: int, at: int, end: int) -> int:
    """The size of the value of type `kind` at `at`; may be nonsense, as the document may."""
    if kind in _FIXED_SIZES:
        return _FIXED_SIZES[kind]
    if kind == _REGEX:  # two strings that end with NUL
        return document.index(b"\0", document.index(b"\0", at, end) + 1, end) + 1 - at
    (length,) = struct.unpack_from("<i", document, at)
    if kind in _STRINGS:
        return int(length) + 4
    if kind in _DOCUMENTS:
        return int(length)
    if kind == _BINARY:
        return int(length) + 5
    if kind == _POINTER:
        return int(length) + 4 + 12
    raise ValueError("an unknown type")
