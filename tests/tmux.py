"""A person at a terminal, who is tmux: real keys in, and what a terminal that is not ours shows."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from tunnel.vt.drawing import row_text
from tunnel.vt.grid import width
from tunnel.vt.screen import Screen

Run = Callable[[Sequence[str]], str]
LOOK = 0.05  # seconds between looks


@dataclass
class Person:
    """One window of tmux's. `run` runs a command where tmux is, and gives what it prints."""

    run: Run
    name: str

    def _tmux(self, *words: str) -> str:
        return self.run(["tmux", "-L", self.name, *words])

    def type(self, text: str) -> None:
        """Characters, as they are."""
        self._tmux("send-keys", "-l", text)

    def press(self, *keys: str) -> None:
        """Keys by tmux's names: Enter, Escape, Up, C-c."""
        self._tmux("send-keys", *keys)

    def click(self, column: int, row: int) -> None:
        """Of the mouse, on a cell counted from 0: what a terminal says that was asked to."""
        at = f"{column + 1};{row + 1}"
        report = f"\x1b[<0;{at}M\x1b[<0;{at}m".encode()
        self._tmux("send-keys", "-H", *(f"{byte:x}" for byte in report))

    def screen(self) -> list[str]:
        """The rows, without what is blank at their ends."""
        return [row.rstrip() for row in self._tmux("capture-pane", "-p").split("\n")[:-1]]

    def cells(self, corner: tuple[int, int] | None = None) -> list[str]:
        """The rows with their colours, and where the cursor is, if it is shown. Of a `corner` of so
        many columns and rows, if that is said."""
        rows = self._tmux("capture-pane", "-p", "-e", "-N").split("\n")[:-1]
        size = self._tmux("display-message", "-p", "#{pane_width} #{pane_height}").split()
        seen = Screen(int(size[0]), int(size[1]))  # since tmux says the same in several ways
        for y, row in enumerate(rows[: seen.rows]):
            seen.feed(f"\x1b[{y + 1}H{row}".encode())
        cursor = "#{?cursor_flag,#{cursor_x} #{cursor_y},hidden}"
        where = self._tmux("display-message", "-p", cursor).strip()
        columns, count = corner or (seen.columns, seen.rows)
        for line in seen.lines:
            line.fit(columns)
        return [*map(row_text, seen.lines[:count]), where]

    def shared_size(self) -> tuple[int, int]:
        """Of a shared terminal that is smaller than this one: what has no dots."""
        rows = [row.rstrip("·") for row in self._tmux("capture-pane", "-p", "-N").split("\n")[:-1]]
        return sum(map(width, rows[0])), len([row for row in rows if row])

    def click_at(self, text: str) -> None:
        """On the last character of `text`, where it is for the first time."""
        for y, row in enumerate(self.screen()):
            if text in row:
                before = row[: row.index(text) + len(text)]
                self.click(sum(map(width, before)) - width(before[-1]), y)
                return
        raise AssertionError(f"{self.name}: no {text!r} on\n" + "\n".join(self.screen()))

    def scrollback(self) -> list[str]:
        """All rows, those that have left at the top first."""
        text = self._tmux("capture-pane", "-p", "-S", "-")
        return [row.rstrip() for row in text.split("\n")[:-1]]

    def flags(self) -> str:
        """What the program in front has asked of the terminal."""
        names = ("alternate_on", "keypad_cursor_flag", "mouse_any_flag", "cursor_flag")
        return self._tmux("display-message", "-p", " ".join(f"#{{{name}}}" for name in names))

    def pid(self) -> int:
        """Of the shell."""
        return int(self._tmux("display-message", "-p", "#{pane_pid}"))

    def line(self) -> str:
        """How the terminal's line discipline is set (stty(1))."""
        tty = self._tmux("display-message", "-p", "#{pane_tty}").strip()
        return self.run(["stty", "-a", "-F", tty])

    def resize(self, columns: int, rows: int) -> None:
        """The window gets another size."""
        self._tmux("resize-window", "-x", str(columns), "-y", str(rows))

    def wait_for(self, what: str | Callable[[], object], within: float = 60.0) -> None:
        """Until the screen has a text, or something holds."""
        deadline = time.monotonic() + within
        while not (what in "\n".join(self.screen()) if isinstance(what, str) else what()):
            if time.monotonic() > deadline:
                raise AssertionError(f"{self.name}: no {what!r} on\n" + "\n".join(self.screen()))
            time.sleep(LOOK)


@contextmanager
def person(
    run: Run,
    name: str,
    command: str,
    size: tuple[int, int] = (80, 24),
    environment: Mapping[str, str] | None = None,
) -> Iterator[Person]:
    """Somebody who has typed `command` (a shell's); ends with the block."""
    columns, rows = map(str, size)
    settings = [word for item in (environment or {}).items() for word in ("-e", "=".join(item))]
    begin = ["tmux", "-L", name, "-f", "/dev/null", "-u", "new-session", "-d"]
    ours = [";", "set", "-g", "remain-on-exit", "on", ";", "set", "-g", "status", "off"]
    run([*begin, "-x", columns, "-y", rows, *settings, command, *ours])
    made = Person(run, name)
    made.resize(*size)
    try:
        yield made
    finally:
        run(["tmux", "-L", name, "kill-server"])


def here(command: Sequence[str]) -> str:
    """A Run on this machine."""
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def differences(one: Sequence[str], other: Sequence[str]) -> list[str]:
    """The rows in which two screens differ."""
    rows = zip(one, other, strict=False)
    found = [f"{number}: {a!r} {b!r}" for number, (a, b) in enumerate(rows) if a != b]
    return found + [f"{len(one)} rows and {len(other)}"] * (len(one) != len(other))
