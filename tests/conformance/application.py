"""The application behind both proxies: records what it gets, answers as the case says."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field

from tests.conformance.case import CONTINUE, OK, Answer, Case, Then

AFTER, WARM = b"/after-it", b"/before-it"  # the visitor's own requests, in no record
MOMENT = 0.02  # seconds between the pieces of an answer
_LIMIT = 1 << 20  # bytes of a head


@dataclass
class Request:
    """As it came. `whole`: to its body's end."""

    line: bytes
    fields: list[tuple[bytes, bytes]]
    framing: str = "none"
    body: bytes = b""
    trailers: bytes = b""
    whole: bool = False
    over: bool = False  # nothing more comes


@dataclass
class Script:
    """What one case's requests are answered, and what came."""

    case: Case
    number: int
    seen: list[Request] = field(default_factory=list)

    def next_answer(self) -> Answer:
        """For the request that is the last in `seen`; the last one holds for all that follow."""
        return self.case.answers[min(len(self.seen), len(self.case.answers)) - 1]


class Application:
    """Serves one connection after another; `script` is the case that is under way."""

    def __init__(self) -> None:
        self.script: Script | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        with contextlib.suppress(OSError, EOFError, ValueError):
            while await self._serve(reader, writer):
                pass
        self._writers.discard(writer)
        writer.close()

    def close(self) -> None:
        """End the connections that are left."""
        for writer in self._writers:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        line, *rest = head[:-4].split(b"\r\n")
        pairs = [each.partition(b":") for each in rest]
        request = Request(line, [(name, value.strip(b" \t")) for name, _, value in pairs])
        if AFTER in line or WARM in line or self.script is None:
            writer.write(OK.replace(b"X-App", b"X-Probe"))
            return True
        script = self.script
        if dict(request.fields).get(b"X-Case", b"%d" % script.number) != b"%d" % script.number:
            return False
        script.seen.append(request)
        answer = script.next_answer()
        try:
            if answer.asks:
                writer.write(CONTINUE)
            if not answer.early:
                await _read_body(reader, request)
            await _send(writer, answer)
            if answer.early and answer.then is Then.KEEP:
                await _read_body(reader, request)
            return await _finish(reader, writer, answer, request)
        finally:
            request.over = True


async def _send(writer: asyncio.StreamWriter, answer: Answer) -> None:
    writer.write(answer.data)
    for piece in answer.pieces:
        await writer.drain()
        await asyncio.sleep(MOMENT)
        writer.write(piece)
    await writer.drain()


async def _finish(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: Answer, request: Request
) -> bool:
    if answer.then is Then.ECHO:
        while data := await reader.read(_LIMIT):
            request.body += data
            writer.write(data)
        writer.write_eof()
    if answer.then is Then.RESET:
        writer.transport.abort()
    return answer.then is Then.KEEP


async def _read_body(reader: asyncio.StreamReader, request: Request) -> None:
    """As strict as it can be: what a proxy sends is well-formed."""
    fields = {name.lower(): value for name, value in request.fields}
    if b"transfer-encoding" in fields:
        request.framing = fields[b"transfer-encoding"].decode("latin-1")
        while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
            request.body += await reader.readexactly(size)
            if await reader.readexactly(2) != b"\r\n":
                raise ValueError("a chunk is longer than it says")
        while (line := await reader.readuntil(b"\r\n")) != b"\r\n":
            request.trailers += line
    elif b"content-length" in fields:
        request.framing = "length"
        left = int(fields[b"content-length"])
        while left:
            data = await reader.read(left)
            if not data:
                return
            request.body += data
            left -= len(data)
    request.whole = True
