"""A visitor: sends a case's bytes, reads what comes as a browser would, tells how it ended."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field

from tests.conformance.application import AFTER, WARM
from tests.conformance.case import CASE, HOST, Case, Step, message

PATIENCE = 4.0  # seconds for an answer; who waits for more input answers never
PAUSE = 0.5  # seconds after which what was sent has been read and answered: a busy machine's
EARLY = 0.05  # seconds


@dataclass
class Got:
    """An answer. `own`: the proxy's own page; `whole`: to its end."""

    status: str
    fields: list[tuple[bytes, bytes]]
    framing: str = "none"
    body: bytes = b""
    trailers: bytes = b""
    whole: bool = False

    def value(self, name: bytes) -> bytes:
        """Of the field `name` (lower case), all values."""
        return b", ".join(value for each, value in self.fields if each.lower() == name)

    @property
    def own(self) -> bool:
        """Whether the application did not make it."""
        names = {name.lower() for name, _ in self.fields}
        return not names & {b"x-app", b"x-probe"} and self.status >= "2"

    @property
    def is_probe(self) -> bool:
        """Whether it answers the visitor's own request."""
        return bool(self.value(b"x-probe"))


@dataclass
class Outcome:
    """What a visitor got. `ending`: kept, closed, or silent, where nothing came any more."""

    answers: list[Got] = field(default_factory=list)
    ending: str = ""


class Visitor:
    """One connection."""

    def __init__(
        self, host: bytes, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._host, self._number = host, b"%d" % number
        self._reader, self._writer = reader, writer
        self._outcome = Outcome()

    async def run(self, case: Case, *, warm: bool) -> Outcome:
        """All of it; with `warm` another request comes first."""
        outcome = self._outcome
        try:
            async with asyncio.timeout(PATIENCE):
                if warm:
                    self._send(message(b"GET %b HTTP/1.1" % WARM))
                    await self._read_one(head=False)
                    outcome.answers.clear()
                await self._take_steps(case)
                while len([each for each in outcome.answers if each.status >= "2"]) < case.count:
                    await self._read_one(head=case.head)
                    if outcome.answers[-1].status == "101":
                        await self._read_rest()
                if case.probes:
                    self._send(message(b"GET %b HTTP/1.1" % AFTER))
                while not (outcome.answers and outcome.answers[-1].is_probe):
                    await self._read_one(head=case.head and not case.probes)
                outcome.answers.pop()
                outcome.ending = "kept"
        except (EOFError, ConnectionError):
            outcome.ending = "closed"
        except TimeoutError:
            outcome.ending = "silent"
        return outcome

    async def _take_steps(self, case: Case) -> None:
        for step in case.steps:
            if step is Step.HEAD:
                await self._read_one(head=case.head)
            elif step is Step.PAUSE:
                await asyncio.sleep(PAUSE)
            elif step is Step.FIN:
                self._writer.write_eof()
            elif isinstance(step, bytes):
                self._send(step)
                with contextlib.suppress(ConnectionError, TimeoutError):
                    async with asyncio.timeout(EARLY):  # an early answer may come
                        await self._writer.drain()

    def _send(self, data: bytes) -> None:
        self._writer.write(data.replace(HOST, self._host).replace(CASE, self._number))

    async def _read_rest(self) -> None:
        """What follows 101."""
        self._outcome.answers[-1].whole = True
        while data := await self._reader.read(1 << 16):
            self._outcome.answers[-1].body += data
        raise EOFError

    async def _read_one(self, *, head: bool) -> None:
        reader = self._reader
        first = await reader.readexactly(5)
        if first != b"HTTP/":
            got = Got("0.9", [], "close", first)
            self._outcome.answers.append(got)
            await _read_to_end(reader, got)
            return
        text = await reader.readuntil(b"\r\n\r\n")
        line, *rest = text[:-4].split(b"\r\n")
        pairs = [each.partition(b":") for each in rest]
        got = Got(line.split()[1].decode(), [(name, value.strip()) for name, _, value in pairs])
        self._outcome.answers.append(got)
        await _read_body(reader, got, head=head and not got.is_probe)


async def _read_to_end(reader: asyncio.StreamReader, got: Got) -> None:
    got.framing = "close"
    while data := await reader.read(1 << 16):
        got.body += data
    got.whole = True
    raise EOFError


async def _read_body(reader: asyncio.StreamReader, got: Got, *, head: bool) -> None:
    length, coding = got.value(b"content-length"), got.value(b"transfer-encoding")
    got.framing = coding.decode() if coding else "length" if length else "none"
    if got.status < "2" or got.status in ("204", "304") or head:
        got.whole = True
    elif coding:
        while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
            got.body += await reader.readexactly(size)
            await reader.readexactly(2)
        while (line := await reader.readuntil(b"\r\n")) != b"\r\n":
            got.trailers += line
        got.whole = True
    elif length:
        while len(got.body) < int(length):
            data = await reader.read(int(length) - len(got.body))
            if not data:
                raise EOFError
            got.body += data
        got.whole = True
    else:
        await _read_to_end(reader, got)
