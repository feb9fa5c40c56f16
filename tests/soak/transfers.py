"""The streams of the load: each checks every byte that it gets, and how its stream ends."""

from __future__ import annotations

import asyncio
import hashlib
import math
import random
import struct
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.soak import content
from tests.soak.judge import NO_ECHO
from tests.soak.service import PORT, UDP_PORT
from tests.soak.ways import Streams, Way

SMALLEST = 1000  # bytes
PIECE = 256 * 1024  # bytes read at once
STALLED = 100.0  # seconds without a byte: longer than any fault, and than what recovers from it
RATES = (0.5e6, 1e6, 2e6, 5e6)  # bytes per second: so that many are open when a fault comes
"""Together they leave two processors time, or it is these that new streams wait for."""
PAUSES = (10.0, 40.0)  # seconds for which a reader stops
ECHO_EVERY = 0.1  # seconds
ECHO_LARGEST = 3000  # bytes
UDP_EVERY = 0.05  # seconds
UDP_LASTS = 20.0  # seconds, one flow
UDP_LARGEST = 1400  # bytes
UDP_LATE = 2.0  # seconds that the last ones are waited for
HALF_LARGEST = 2_000_000  # bytes


class WrongError(Exception):
    """Other bytes, or another end, than what was sent."""


class HungError(Exception):
    """Nothing moved for STALLED seconds."""


@dataclass(slots=True)
class Job:
    """One thing that is done: by which way, with which dice; and what became of it."""

    way: Way
    dice: random.Random
    ending: asyncio.Event
    largest: int
    began: float = 0.0
    opened: float = 0.0
    moved: int = 0
    lost: int = 0
    repeated: int = 0
    _paced: float = field(default=0.0)

    def size(self, largest: int = 0) -> int:
        """Any order of magnitude is as likely as any other."""
        return int(
            math.exp(self.dice.uniform(math.log(SMALLEST), math.log(largest or self.largest)))
        )

    @contextmanager
    def using(self, streams: Streams) -> Iterator[None]:
        self.opened = time.monotonic()
        try:
            yield
            streams[1].close()
        except BaseException:
            streams[1].transport.abort()
            raise

    async def pace(self, count: int, rate: float) -> None:
        """Count what moved, and wait for as long as it should have taken."""
        self.moved += count
        now = time.monotonic()
        self._paced = max(self._paced, now - 1.0) + count / rate
        if self._paced > now and not self.ending.is_set():
            await asyncio.sleep(self._paced - now)


async def _read(reader: asyncio.StreamReader) -> bytes:
    try:
        async with asyncio.timeout(STALLED):
            return await reader.read(PIECE)
    except TimeoutError:
        raise HungError(f"nothing came for {STALLED:.0f} s") from None


async def _drain(writer: asyncio.StreamWriter) -> None:
    try:
        async with asyncio.timeout(STALLED):
            await writer.drain()
    except TimeoutError:
        raise HungError(f"nothing was taken for {STALLED:.0f} s") from None


async def _expect(
    job: Job, reader: asyncio.StreamReader, seed: int, size: int, rate: float
) -> None:
    """Read content(seed, size) and the end of stream. Raises WrongError at the first other byte."""
    expected, got, place = content.chunks(seed, size), 0, b""
    while piece := await _read(reader):
        if got + len(piece) > size:
            raise WrongError(f"{got + len(piece)} bytes and more in place of {size}")
        while len(place) < len(piece):
            place += next(expected)
        if place[: len(piece)] != piece:
            raise WrongError(f"other bytes between {got} and {got + len(piece)} of {size}")
        got, place = got + len(piece), place[len(piece) :]
        await job.pace(len(piece), rate)
    if got != size:
        raise WrongError(f"the end of stream after {got} of {size} bytes")


async def _send(job: Job, writer: asyncio.StreamWriter, seed: int, size: int, rate: float) -> None:
    for piece in content.chunks(seed, size):
        writer.write(piece)
        await _drain(writer)
        await job.pace(len(piece), rate)
    writer.write_eof()


async def down(job: Job) -> None:
    """A download."""
    seed, size, rate = job.dice.getrandbits(32), job.size(), job.dice.choice(RATES)
    reader, writer = await job.way.open(PORT)
    with job.using((reader, writer)):
        writer.write(f"get {seed} {size}\n".encode())
        await _expect(job, reader, seed, size, rate)


async def paused(job: Job) -> None:
    """A download whose reader stops for a while, so that all buffers on the way are full."""
    seed, size = job.dice.getrandbits(32), job.dice.randint(20_000_000, 40_000_000)
    reader, writer = await job.way.open(PORT)
    with job.using((reader, writer)):
        writer.write(f"get {seed} {size}\n".encode())
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(job.ending.wait(), name="end")
            await asyncio.wait([waiting], timeout=job.dice.uniform(*PAUSES))
            waiting.cancel()
        await _expect(job, reader, seed, size, math.inf)


async def up(job: Job) -> None:
    """An upload: the other side tells what it got once it has seen our end of stream."""
    seed, size, rate = job.dice.getrandbits(32), job.size(), job.dice.choice(RATES)
    reader, writer = await job.way.open(PORT)
    with job.using((reader, writer)):
        writer.write(f"put {seed} {size}\n".encode())
        await _send(job, writer, seed, size, rate)
        answer = b""
        while piece := await _read(reader):
            answer += piece
        expected = f"{content.digest(seed, size)} {size}\n".encode()
        if answer != expected:
            raise WrongError(f"the other side got {answer!r} and not {expected!r}")


async def half(job: Job) -> None:
    """Send all, end our direction, then read an answer that only begins then."""
    seed, size = job.dice.getrandbits(32), job.size(HALF_LARGEST)
    reader, writer = await job.way.open(PORT)
    with job.using((reader, writer)):
        writer.write(f"both {seed} {size}\n".encode())
        await _send(job, writer, seed + 1, size, 1e6)
        await _expect(job, reader, seed, size, math.inf)


async def short(job: Job, within: float = 60.0) -> None:
    """Open, one byte there and back, close."""
    async with asyncio.timeout(within):
        reader, writer = await job.way.open(PORT, within)
        with job.using((reader, writer)):
            writer.write(b"echo 0 0\nx")
            if await reader.read(1) != b"x":
                raise WrongError(NO_ECHO)
            job.moved += 1
            writer.write_eof()
            if await reader.read(1):
                raise WrongError("more than was sent")


async def echo(job: Job) -> None:
    """Small messages back and forth until the end."""
    reader, writer = await job.way.open(PORT)
    with job.using((reader, writer)):
        writer.write(b"echo 0 0\n")
        number = 0
        while not job.ending.is_set():
            message = struct.pack("!Q", number) + content.data(
                number, job.dice.randint(0, ECHO_LARGEST)
            )
            writer.write(message)
            await _exactly(reader, message)
            number += 1
            job.moved += len(message)
            await asyncio.sleep(ECHO_EVERY)
        writer.write_eof()
        if await _read(reader):
            raise WrongError("more than was sent")


async def _exactly(reader: asyncio.StreamReader, message: bytes) -> None:
    try:
        async with asyncio.timeout(STALLED):
            got = await reader.readexactly(len(message))
    except TimeoutError:
        raise HungError(f"no echo for {STALLED:.0f} s") from None
    except asyncio.IncompleteReadError as error:
        raise WrongError(f"the end of stream after {len(error.partial)} bytes") from error
    if got != message:
        raise WrongError("another message came back")


async def udp(job: Job) -> None:
    """Datagrams back and forth: they may be lost, and are else what they were."""
    flow = await job.way.open_udp(UDP_PORT)
    job.opened = time.monotonic()
    mark = job.dice.getrandbits(63)
    seen: set[int] = set()
    last = 0

    def datagram(number: int) -> bytes:
        body = content.data(mark + number, 20 + number * 37 % UDP_LARGEST)
        return struct.pack("!QQ", mark, number) + hashlib.sha256(body).digest() + body

    async def receive() -> None:
        while True:
            data = await flow.receive()
            _, number = struct.unpack("!QQ", data[:16])
            if not 0 <= number < last or data != datagram(number):
                raise WrongError(f"a datagram that was not sent: {len(data)} bytes")
            job.repeated += number in seen
            seen.add(number)

    try:
        async with asyncio.TaskGroup() as group:
            receiving = group.create_task(_forgiving(receive), name="udp echo")
            until = time.monotonic() + UDP_LASTS
            while time.monotonic() < until and not job.ending.is_set():
                flow.send(datagram(last))
                last += 1
                await asyncio.sleep(UDP_EVERY)
            await asyncio.sleep(UDP_LATE)
            receiving.cancel()
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    finally:
        flow.close()
        job.moved, job.lost = len(seen), last - len(seen)


async def _forgiving(receive: Callable[[], Awaitable[None]]) -> None:
    """A flow that is refused for the moment loses datagrams; it does not end."""
    while True:
        try:
            await receive()
        except OSError:
            await asyncio.sleep(UDP_EVERY)


WORKS: dict[str, tuple[Callable[[Job], Awaitable[object]], int]] = {
    "down": (down, 2),
    "up": (up, 2),
    "paused": (paused, 1),
    "half": (half, 1),
    "short": (short, 2),
    "echo": (echo, 2),
    "udp": (udp, 1),
}
"""What is done, and by how many workers for each way."""
