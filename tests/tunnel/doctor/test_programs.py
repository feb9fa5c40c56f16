from __future__ import annotations

import pytest

from tests.loops import run
from tunnel.doctor import programs
from tunnel.doctor.finding import FailedError, State
from tunnel.doctor.programs import libvirt_answers, output_of

pytestmark = pytest.mark.programs


def test_what_a_program_says() -> None:
    async def main() -> None:
        assert await output_of("sh", "-c", "echo one; echo two") == "one"
        assert await output_of("true") == ""
        with pytest.raises(FailedError, match="oh dear"):
            await output_of("sh", "-c", "echo Traceback >&2; echo oh dear >&2; exit 3")
        with pytest.raises(FailedError, match="exit code 1"):
            await output_of("false")
        with pytest.raises(FileNotFoundError):
            await output_of("/nowhere/program")

    run(main)


def test_one_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        monkeypatch.setattr(programs, "PROGRAM_WITHIN", 0.05)
        with pytest.raises(FailedError, match="no answer in"):
            await output_of("sleep", "60")

    run(main)


def test_libvirt(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        monkeypatch.setenv("LIBVIRT_DEFAULT_URI", "test:///default")
        found = await libvirt_answers(State.FAILED, "do")
        assert found.state is State.OK
        assert "test:///default, version " in found.text
        monkeypatch.setenv("LIBVIRT_DEFAULT_URI", "nonsense:///x")
        found = await libvirt_answers(State.WARNING, "do")
        assert (found.state, found.hint) == (State.WARNING, "do")

    pytest.importorskip("libvirt")
    run(main)
