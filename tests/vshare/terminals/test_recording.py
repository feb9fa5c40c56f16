"""asciicast v2, as asciinema plays it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.loops import run
from tests.shared_terminals import ADA, MemoryProgram, Watcher
from tunnel.errors import UsageError
from vshare.terminals import recording as module
from vshare.terminals.hub import Hub
from vshare.terminals.recording import Recording
from vshare.terminals.terminal import Terms


def lines(path: Path) -> list[object]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_what_was_shown_is_recorded_and_nothing_that_was_typed(tmp_path: Path) -> None:
    path = tmp_path / "one.cast"

    async def main() -> None:
        hub = Hub()
        terminal = hub.open("build", Terms(read_write=True))
        program = MemoryProgram(terminal)
        now = [1.0]
        terminal.recording = Recording(path, 80, 24, "build", lambda: now[0])
        ada = Watcher(hub, ADA)
        ada.type(b"secret\r")
        now[0] = 2.5
        terminal.output("r\u00e9d \u6f22\x1b[c".encode())
        terminal.screen.resize(100, 30)
        terminal.recording.resized(100, 30)
        terminal.ended("over")
        assert program.typed.startswith(b"secret\r")

    run(main)
    header, *events = lines(path)
    assert isinstance(header, dict)
    assert (header["version"], header["width"], header["height"]) == (2, 80, 24)
    assert header["title"] == "build"
    assert events == [[1.5, "o", "r\u00e9d \u6f22"], [1.5, "r", "100x30"]]
    assert path.stat().st_mode & 0o777 == 0o600


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "one.cast"
    path.write_text("mine")
    for where in (path, tmp_path / "none" / "one.cast", tmp_path):
        with pytest.raises(UsageError, match="cannot record"):
            Recording(where, 80, 24, "build")
    assert path.read_text() == "mine"


def test_a_recording_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_RECORDING", 1_000)
    recording = Recording(tmp_path / "one.cast", 80, 24, "build")
    for _ in range(100):
        recording.output(b"x" * 50)
    assert recording.failed
    assert (tmp_path / "one.cast").stat().st_size <= 1_000
    assert len(lines(tmp_path / "one.cast")) > 5
    recording.close()
    recording.output(b"more")
