"""Commands of the project as a test runs them: in this process, and as processes."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NoReturn

import pytest


@dataclass(frozen=True)
class Outcome:
    code: object
    out: str
    err: str

    def check_error(self, code: int, text: str) -> None:
        """One `error:` line with `text` and one `hint:` line close the story; no traceback."""
        assert self.code == code, self.err
        assert "Traceback" not in self.err
        *_, error, hint = self.err.strip().splitlines()
        assert error.startswith("error: "), self.err
        assert hint.startswith("hint: "), self.err
        assert text in error
        assert not error.endswith(".")


class Command:
    """`main` of a cli module, called in this process."""

    def __init__(
        self,
        name: str,
        main: Callable[[], NoReturn],
        monkeypatch: pytest.MonkeyPatch,
        capfd: pytest.CaptureFixture[str],
    ) -> None:
        self._name, self._main = name, main
        self._monkeypatch, self._capfd = monkeypatch, capfd
        monkeypatch.delenv("VSHARE_RELAY", raising=False)

    def __call__(self, *arguments: str) -> Outcome:
        self._monkeypatch.setattr(sys, "argv", [self._name, *arguments])
        with pytest.raises(SystemExit) as caught:
            self._main()
        out, err = self._capfd.readouterr()
        return Outcome(caught.value.code, out, err)


@contextlib.contextmanager
def started(
    module: str, *arguments: str, stdin: int = subprocess.DEVNULL
) -> Iterator[subprocess.Popen[str]]:
    """`python -m module arguments` in a session of its own, so without a terminal."""
    environment = {key: value for key, value in os.environ.items() if key != "VSHARE_RELAY"}
    with subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for(process: subprocess.Popen[str], text: str, *, on_stdout: bool = False) -> list[str]:
    """Read lines until one has `text`; all that was read. The test's own deadline bounds it."""
    stream = process.stdout if on_stdout else process.stderr
    assert stream is not None
    lines: list[str] = []
    for line in stream:
        lines.append(line)
        if text in line:
            return lines
    raise AssertionError(f"{text!r} did not come: {''.join(lines)}")


def end(process: subprocess.Popen[str], number: int, within: float = 15) -> Outcome:
    """Send a signal and read what the process says until it has ended."""
    process.send_signal(number)
    try:
        out, err = process.communicate(timeout=within)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        raise AssertionError(f"did not end after signal {number}: {out}{err}") from None
    return Outcome(process.returncode, out, err)
