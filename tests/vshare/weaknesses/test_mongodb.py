"""No MongoDB was at hand: the server here is a small one that reads OP_MSG and BSON with a reader
of its own, and answers as the documentation says, in BSON that PyMongo's encoder wrote (4.20)."""

from __future__ import annotations

import asyncio
import struct

import pytest

from tests.vshare.peers import tcp_server
from tests.vshare.weaknesses.servers import ask_port, hear
from tunnel.errors import RemoteProtocolError
from vshare.weaknesses import mongodb
from vshare.weaknesses.danger import SOUND, WEAK, Verdict
from vshare.weaknesses.mongodb import parse_numbers

# {"databases": [{"name": "admin"}, ...], "totalSize": Int64(0), "ok": 1.0}
DATABASES = bytes.fromhex(
    "7d0000000464617461626173657300"
    "4e000000" "033000" "15000000026e616d65000600000061646d696e0000"
    "033100" "16000000026e616d650007000000636f6e6669670000"
    "033200" "15000000026e616d6500060000006c6f63616c0000" "00"
    "12746f74616c53697a65000000000000000000" "016f6b00000000000000f03f" "00"
)  # fmt: skip
# {"ok": 0.0, "errmsg": ..., "code": 13, "codeName": "Unauthorized"}
UNAUTHORIZED = (
    b"p\x00\x00\x00\x01ok\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02errmsg\x00.\x00\x00\x00"
    b"command listDatabases requires authentication\x00\x10code\x00\r\x00\x00\x00"
    b"\x02codeName\x00\r\x00\x00\x00Unauthorized\x00\x00"
)
# One value of each type that is still in use, an "ok" inside another document, and "ok": 1.0.
EVERY_TYPE = bytes.fromhex(
    "f400000004646174616261736573001d00000003300015000000026e616d65000600000061646d696e00000002730002"
    "000000780003646f63000d000000106f6b0005000000000562000300000000616263056232000600000002020000007878"
    "076f000000000000000000000000000874000109640000a8da769b0100000a6e000b7200610069000d6300020000006600"
    "0f637300160000000200000066000c000000106100010000000010690003000000117473000200000001000000126c0000"
    "0000000001000013646563000f000000000000000000000000003e30ff6d69007f6d6100016f6b00000000000000f03f00"
)


def reply(document: bytes, *, opcode: int = 2013, answers: int = 1) -> bytes:
    body = b"\0\0\0\0\0" + document
    return struct.pack("<iiii", 16 + len(body), 77, answers, opcode) + body


def read_command(document: bytes) -> dict[str, object]:
    """Another reader of BSON, of the three types that a command has here."""
    (size,) = struct.unpack_from("<i", document)
    assert size == len(document)
    assert document[-1] == 0
    command: dict[str, object] = {}
    rest = document[4:-1]
    while rest:
        name, _, value = rest[1:].partition(b"\0")
        if rest[0] == 0x10:
            command[name.decode()] = int.from_bytes(value[:4], "little", signed=True)
            rest = value[4:]
        elif rest[0] == 0x08:
            command[name.decode()] = bool(value[0])
            rest = value[1:]
        else:
            assert rest[0] == 0x02
            length = int.from_bytes(value[:4], "little")
            assert value[3 + length] == 0
            command[name.decode()] = value[4 : 3 + length].decode()
            rest = value[4 + length :]
    return command


@pytest.mark.parametrize(("answer", "verdict"), [(DATABASES, WEAK), (UNAUTHORIZED, SOUND)])
def test_a_server(answer: bytes, verdict: Verdict) -> None:
    commands = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        length, _, _, opcode = struct.unpack("<iiii", await reader.readexactly(16))
        body = await reader.readexactly(length - 16)
        assert opcode == 2013
        assert body[:5] == b"\0\0\0\0\0"
        commands.append(read_command(body[5:]))
        writer.write(reply(answer))
        await reader.read()

    async def main() -> None:
        async with tcp_server(serve) as port:
            assert await ask_port(port, mongodb.converse) == verdict

    asyncio.run(main())
    assert commands == [{"listDatabases": 1, "nameOnly": True, "$db": "admin"}]


def test_every_type_of_value_is_passed_over() -> None:
    numbers = parse_numbers(EVERY_TYPE)
    assert numbers == {"t": True, "i": 3, "l": 2**40, "ok": 1.0}
    assert hear(mongodb.converse, reply(EVERY_TYPE), 1) == WEAK


def test_every_shorter_document_is_refused() -> None:
    for size in range(len(EVERY_TYPE)):
        with pytest.raises(RemoteProtocolError):
            parse_numbers(EVERY_TYPE[:size])
        with pytest.raises(RemoteProtocolError):  # the length says that all is here
            parse_numbers(struct.pack("<i", size) + EVERY_TYPE[4:size])


@pytest.mark.parametrize(
    "answer",
    [
        reply(DATABASES, opcode=1),
        reply(DATABASES, answers=2),
        reply(b"\5\0\0\0\0"),  # an empty document
        reply(b"\4\0\0\0\0"),
        reply(b"\x0e\0\0\0\3x\0\0\0\0\0ok\0"),  # a document that takes no room
        reply(b"\x0e\0\0\0\3x\0\xff\xff\xff\xffok\0"),  # and one that takes less
        struct.pack("<iiii", -5, 0, 1, 2013),
        struct.pack("<iiii", 2**31 - 1, 0, 1, 2013),
        b"It looks like you are trying to access MongoDB over HTTP",
    ],
)
def test_other_answers_are_noted(answer: bytes) -> None:
    for size in (0, 1):
        verdict = hear(mongodb.converse, answer, size)
        assert verdict is not None
        assert not verdict.weak
        assert "MongoDB" in verdict.note
