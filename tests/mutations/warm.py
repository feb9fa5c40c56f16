"""A process that has imported what is not ours, and forks itself for each run of pytest.

A program, not a module: nothing of ours is imported before the fork, so each run imports the
copy that it is in, and what one run did to its modules is gone with it. Its counterpart is
copy.py: a line of JSON with pytest's arguments comes, and a file for the output; the exit status
goes back.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import signal
import sys

import pytest

# What most runs import, and what takes longest to.
OTHERS = (
    "asyncio",
    "asyncssh",
    "click",
    "cryptography.x509",
    "cryptography.hazmat.primitives.serialization",
    "h11",
    "hypothesis.strategies",
    "hypothesis.internal.conjecture.engine",
    "msgspec",
    "spake2",
    "starlette.applications",
    "uvicorn.protocols.http.h11_impl",
    "uvloop",
    "websockets.asyncio.client",
    "websockets.asyncio.server",
)


def run(arguments: list[str], output: str, within: int) -> int:
    """pytest's exit status, or less than 0: the signal that ended it; SIGALRM: out of time."""
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        return os.waitstatus_to_exitcode(status)
    signal.alarm(within)
    file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for number, to in ((nothing, 0), (file, 1), (file, 2)):
        os.dup2(number, to)
    sys.exit(pytest.main(arguments))


def main() -> None:
    """Until there is nothing more to read."""
    for name in OTHERS:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # the children's tests collect garbage; this is none
    for line in sys.stdin:
        print(run(**json.loads(line)), flush=True)


if __name__ == "__main__":
    main()
