"""One step of an examination, and what it found."""

from __future__ import annotations

import asyncio
import enum
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, replace

from tunnel.dialler import reason_of
from tunnel.errors import VshareError

STEP_WITHIN = 30.0  # seconds; steps have shorter deadlines of their own, with better words


class State(enum.Enum):
    """How a step ended. A warning is something to know, with which everything works."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Finding:
    """What a step found. `hint`: what to do. `ask`: what the network's administrator can do.

    `seconds` is how long it took; None where the runner is to measure that.
    """

    name: str
    state: State
    text: str
    hint: str = ""
    ask: str = ""
    seconds: float | None = None


class FailedError(VshareError):
    """Ends a step: it failed, and `ask` is what the network's administrator can do about it."""

    def __init__(self, text: str, hint: str = "", ask: str = "") -> None:
        super().__init__(text, hint)
        self.ask = ask


@dataclass(frozen=True, slots=True)
class Step:
    """A small examination: `examine` gives its findings, or raises VshareError or OSError."""

    name: str
    examine: Callable[[], Awaitable[Finding | list[Finding]]]


async def examine(steps: Iterator[Step]) -> AsyncIterator[Finding]:
    """Run `steps` one after another, each made when its turn comes; what they find, as it comes."""
    clock = asyncio.get_running_loop().time
    for step in steps:
        started = clock()
        for finding in await _findings(step):
            seconds = clock() - started if finding.seconds is None else finding.seconds
            yield replace(finding, seconds=seconds)


async def _findings(step: Step) -> list[Finding]:
    try:
        async with asyncio.timeout(STEP_WITHIN):
            found = await step.examine()
    except VshareError as error:
        ask = str(getattr(error, "ask", ""))
        return [Finding(step.name, State.FAILED, error.text, error.hint, ask)]
    except TimeoutError:
        return [Finding(step.name, State.FAILED, "no answer in time")]
    except ssl.SSLError as error:
        return [Finding(step.name, State.FAILED, f"TLS failed: {error}")]
    except OSError as error:
        return [Finding(step.name, State.FAILED, reason_of(error))]
    return found if isinstance(found, list) else [found]
