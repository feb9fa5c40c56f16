"""The load's real programs: curl at the public URL, psql at the static IP, ssh."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.soak import content
from tests.soak.transfers import HungError, Job, WrongError
from tests.soak.ways import Way

if TYPE_CHECKING:
    from tests.soak.load import Plan

CURL_LARGEST = 50_000_000  # bytes
SSH_LARGEST = 20_000_000  # bytes
SSH_RATE = 1e6  # bytes per second
CURL_RATE = "10M"  # bytes per second
CURL_GIVES_UP = ("--speed-time", "75", "--speed-limit", "1")
"""Where the visitor's own router forgets its connection, nobody tells it."""
WITHIN = 180.0  # seconds for one program; longer than any fault and what follows it
JOINS_APART = 3.5  # seconds; each ssh joins, and who does so more often than in 3 s is refused
ROWS = 100  # inserted by one transaction
HALVES_APART = 1.0  # seconds that a transaction stays open


@dataclass(frozen=True, slots=True)
class Program:
    """A worker that runs a program again and again."""

    kind: str
    way: Way
    work: Callable[[Job], Awaitable[object]]
    apart: float = 0.0  # seconds, at least, from one's beginning to the next one's


async def _run(*command: str, text: str = "") -> tuple[int, bytes, str]:
    """Exit code, output, and what it complained of. Raises HungError."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=pipe)
    try:
        async with asyncio.timeout(WITHIN):
            output, errors = await process.communicate(text.encode())
    except TimeoutError:
        process.kill()
        await process.wait()
        raise HungError(f"{command[0]} did not end in {WITHIN:.0f} s") from None
    return process.returncode or 0, output, errors.decode(errors="replace").strip()


def _curl(public: str, host: str) -> Callable[[Job], Awaitable[object]]:
    async def work(job: Job) -> None:
        seed, size = job.dice.getrandbits(32), job.size(min(CURL_LARGEST, job.largest))
        url = f"http://{public}/{seed}/{size}"
        options = ["-sSf", "--noproxy", "*", "--limit-rate", CURL_RATE, "-H", f"Host: {host}"]
        options.extend(CURL_GIVES_UP)
        code, output, errors = await _run("curl", *options, url)
        job.opened = job.began if output else 0.0
        job.moved = len(output)
        if code:
            raise OSError(f"curl {code}: {errors}")
        if hashlib.sha256(output).hexdigest() != content.digest(seed, size):
            raise WrongError(f"curl is content with {len(output)} of {size} bytes, or others")

    return work


def _psql(ip: str) -> Callable[[Job], Awaitable[object]]:
    table = "create table if not exists soak (mark bigint, number int);"
    command = ("psql", "-h", ip, "-U", "postgres", "-qAtX", "-v", "ON_ERROR_STOP=1")

    async def work(job: Job) -> None:
        mark = job.dice.getrandbits(62)
        half = f"insert into soak select {mark}, n from generate_series(1, {ROWS // 2}) n;"
        wait = f"select pg_sleep({HALVES_APART});"
        count = f"select count(*) from soak where mark = {mark};"
        script = f"{table} begin; {half} {wait} {half} commit; {count}"
        job.opened = time.monotonic()
        code, output, errors = await _run(*command, text=script)
        if code:
            raise OSError(f"psql {code}: {errors}")
        if output.strip() != str(ROWS).encode():
            raise WrongError(f"{output!r} rows in place of {ROWS}")
        job.moved = ROWS

    return work


def _ssh(*command: str) -> Callable[[Job], Awaitable[object]]:
    async def work(job: Job) -> None:
        seed, size = job.dice.getrandbits(32), job.size(min(SSH_LARGEST, job.largest))
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *command, "echo ready; sha256sum", stdin=pipe, stdout=pipe, stderr=pipe
        )
        try:
            async with asyncio.timeout(WITHIN):
                output, errors = await _talk_to(process, job, seed, size)
        except TimeoutError:
            raise HungError(f"ssh did not end in {WITHIN:.0f} s") from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode:
            raise OSError(f"ssh {process.returncode}: {errors}")
        if output.split()[0].decode() != content.digest(seed, size):
            raise WrongError(f"ssh brought other bytes than the {size} that were sent")

    return work


async def _talk_to(
    process: asyncio.subprocess.Process, job: Job, seed: int, size: int
) -> tuple[bytes, str]:
    """Its output after `ready`, and what it complained of."""
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    if await process.stdout.readline():
        job.opened = time.monotonic()
        with suppress(ConnectionError):  # its exit code says more
            for piece in content.chunks(seed, size):
                process.stdin.write(piece)
                await process.stdin.drain()
                await job.pace(len(piece), SSH_RATE)
            process.stdin.close()
    output = await process.stdout.read()
    errors = (await process.stderr.read()).decode(errors="replace").strip()
    await process.wait()
    return output, errors[-300:]


def wanted(plan: Plan) -> Iterator[Program]:
    """Those that have a way to the machine."""
    if plan.public:
        yield Program("curl", Way("url", plan.public), _curl(plan.public, plan.machine))
    if plan.ssh:
        yield Program("ssh", Way("ssh", plan.name), _ssh(*plan.ssh), JOINS_APART)
    if plan.ip:
        yield Program("psql", Way("ip", plan.ip), _psql(plan.ip))
