from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator

import pytest

from tests.loops import run
from tunnel.doctor import finding
from tunnel.doctor.finding import FailedError, Finding, State, Step, examine
from tunnel.errors import UsageError
from tunnel.proxy import ProxyError


@pytest.mark.parametrize(
    ("error", "text", "ask"),
    [
        (UsageError("no such thing", "do"), "no such thing", ""),
        (FailedError("it broke", "do", "mend it"), "it broke", "mend it"),
        (ProxyError("it refused", ask="let it"), "it refused", "let it"),
        (ConnectionRefusedError(111, "x"), "connection refused", ""),
        (TimeoutError(), "no answer in time", ""),
        (ssl.SSLError(1, "odd"), "TLS failed", ""),
    ],
)
def test_what_is_raised_is_a_finding(error: Exception, text: str, ask: str) -> None:
    async def fail() -> Finding:
        raise error

    async def main() -> None:
        (found,) = [each async for each in examine(iter([Step("it", fail)]))]
        assert (found.name, found.state, found.ask) == ("it", State.FAILED, ask)
        assert text in found.text

    run(main)


def test_steps_are_made_in_turn_and_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        done: list[int] = []

        def steps() -> Iterator[Step]:
            for number in range(2):
                assert len(done) == number

                async def step(number: int = number) -> list[Finding]:
                    done.append(number)
                    own = 7.5 if number else None
                    return [Finding("a", State.OK, "x", seconds=own)] * 2

                yield Step("a", step)

        found = [each async for each in examine(steps())]
        assert [each.seconds == 7.5 for each in found] == [False, False, True, True]
        assert None not in [each.seconds for each in found]

        async def hangs() -> Finding:
            await asyncio.Event().wait()
            raise AssertionError

        monkeypatch.setattr(finding, "STEP_WITHIN", 0.01)
        (late,) = [each async for each in examine(iter([Step("it", hangs)]))]
        assert late.text == "no answer in time"

    run(main)


def test_a_fault_of_ours_is_not_a_finding() -> None:
    async def broken() -> Finding:
        raise RuntimeError("ours")

    async def main() -> None:
        with pytest.raises(RuntimeError):
            [each async for each in examine(iter([Step("it", broken)]))]

    run(main)
