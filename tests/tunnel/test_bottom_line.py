"""The line at the bottom, on terminals: in this process, and as people see it."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import pty
import re
import struct
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.loops import run, until
from tests.screen import screen
from tests.terminal import Terminal
from tunnel import bottom_line
from tunnel.bottom_line import BottomLine, fit, open_terminal
from tunnel.console import Console


@pytest.fixture(autouse=True)
def in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bottom_line, "LOOK_EVERY", 0.005)


class Pty:
    """A terminal, and what was written to it."""

    def __init__(self, columns: int = 40) -> None:
        self.outer, self.inner = pty.openpty()
        os.set_blocking(self.outer, False)
        os.set_blocking(self.inner, False)
        self.columns = columns
        self.resize(columns)
        self.written = ""

    def resize(self, columns: int) -> None:
        self.columns = columns
        fcntl.ioctl(self.outer, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))

    def read(self) -> str:
        try:
            self.written += os.read(self.outer, 65_536).decode()
        except BlockingIOError:
            pass
        return self.written

    def rows(self) -> list[str]:
        return screen(self.read(), self.columns)

    def close(self) -> None:
        os.close(self.inner)
        os.close(self.outer)


@pytest.fixture
def terminal() -> Iterator[Pty]:
    terminal = Pty()
    yield terminal
    terminal.close()


class Words:
    """What `look` gives; `looks` is how often it was asked."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.looks = 0

    def __call__(self) -> str:
        self.looks += 1
        return self.text

    async def asked(self, times: int = 3) -> None:
        before = self.looks
        await until(lambda: self.looks >= before + times)


def test_it_is_rewritten_in_place_and_wiped_away(terminal: Pty) -> None:
    async def main() -> None:
        words = Words("1 guest, 10 requests")
        line = BottomLine(terminal.inner, words)
        line.start()
        await until(lambda: terminal.rows() == ["1 guest, 10 requests"])
        words.text = "2 guests"
        await until(lambda: terminal.rows() == ["2 guests"])
        line.stop()
        await until(lambda: terminal.rows() == [""])
        before = words.looks
        await asyncio.sleep(0.02)
        assert words.looks == before

    run(main)


def test_nothing_is_written_while_nothing_changes(terminal: Pty) -> None:
    async def main() -> None:
        words = Words("1 guest")
        line = BottomLine(terminal.inner, words)
        line.start()
        await until(lambda: "guest" in terminal.read())
        before = terminal.read()
        await words.asked(5)
        assert terminal.read() == before
        line.stop()

    run(main)


def test_it_makes_room_for_other_lines(terminal: Pty) -> None:
    async def main() -> None:
        words = Words("1 guest")
        line = BottomLine(terminal.inner, words)
        line.start()
        await until(lambda: terminal.rows() == ["1 guest"])
        line.hide()
        os.write(terminal.inner, b"bob joined\n")
        await until(lambda: terminal.rows() == ["bob joined", "1 guest"])
        with line.paused():
            os.write(terminal.inner, b"Let ann in? ")
            words.text = "2 guests"
            await asyncio.sleep(0.02)
            assert terminal.rows() == ["bob joined", "Let ann in?"]
            os.write(terminal.inner, b"\n")
        await until(lambda: terminal.rows() == ["bob joined", "Let ann in?", "2 guests"])
        line.stop()
        await until(lambda: terminal.rows() == ["bob joined", "Let ann in?", ""])

    run(main)


def test_it_is_cut_to_the_width_which_may_change(terminal: Pty) -> None:
    async def main() -> None:
        words = Words("0123456789" * 5)
        line = BottomLine(terminal.inner, words)
        line.start()
        await until(lambda: terminal.rows() == [words.text[:36] + "..."])
        terminal.resize(20)
        await until(lambda: terminal.read().endswith(f"{words.text[:16]}...\r"))
        terminal.resize(0)  # it does not know
        await until(lambda: terminal.read().endswith(f"{words.text}\r"))
        line.stop()

    run(main)


def test_a_terminal_that_takes_nothing_is_not_waited_for(terminal: Pty) -> None:
    async def main() -> None:
        words = Words("1 guest")
        while True:
            try:
                os.write(terminal.inner, b"x" * 4096)
            except BlockingIOError:
                break
        line = BottomLine(terminal.inner, words)
        line.start()
        await words.asked()
        await until(lambda: terminal.read().endswith("1 guest\r"))
        line.stop()

    run(main)


def test_a_terminal_that_has_gone_ends_nothing() -> None:
    async def main() -> None:
        terminal = Pty()
        os.close(terminal.outer)
        words = Words("1 guest")
        line = BottomLine(terminal.inner, words)
        line.start()
        await words.asked()
        line.stop()
        os.close(terminal.inner)

    run(main)


def test_a_fault_takes_the_line_away_and_ends_nothing(
    terminal: Pty, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        texts = iter(["1 guest"])
        line = BottomLine(terminal.inner, lambda: next(texts))
        line.start()
        with caplog.at_level(logging.ERROR):
            await until(lambda: caplog.text != "")
        await until(lambda: terminal.rows() == [""])
        assert "StopIteration" in caplog.text

    run(main)


@pytest.mark.parametrize(
    ("text", "columns", "fitting"),
    [
        ("abcdef", 6, "abcdef"),
        ("abcdefg", 6, "abc..."),
        ("日本語日本", 9, "日本語..."),
        ("日本語日本", 8, "日本..."),
        ("e\N{COMBINING ACUTE ACCENT}" * 6, 6, "e\N{COMBINING ACUTE ACCENT}" * 6),
        ("abcdef", 2, ".."),
        ("abcdef", 0, ""),
        ("abcdef", -1, ""),
    ],
)
def test_fitting(text: str, columns: int, fitting: str) -> None:
    assert fit(text, columns) == fitting


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_terminal_is_opened_once_more(terminal: Pty, is_terminal: bool) -> None:
    os.set_blocking(terminal.inner, True)
    descriptor = os.dup(terminal.inner) if is_terminal else os.open(os.devnull, os.O_WRONLY)
    with os.fdopen(descriptor, "w") as file, open_terminal(file) as opened:
        assert (opened is not None) == is_terminal
        if opened is not None:
            assert not os.get_blocking(opened)
            assert os.get_blocking(descriptor)


# -- on a console

HEAD = """
import asyncio, logging, os, sys, time
from tunnel import bottom_line
from tunnel.console import Console, run
from tunnel.prompt import ask_line
console = Console("demo", as_json="--json" in sys.argv, verbose="-v" in sys.argv)
bottom_line.LOOK_EVERY = 0.05
async def shown():
    await asyncio.sleep(0.2)
async def work(interrupt):
"""
TAIL = "\nsys.exit(run(console, work))\n"
LIVE = """
with console.live(lambda: "1 guest"):
    await shown()
"""


def on_a_terminal(body: str, *options: str, **environment: str) -> Terminal:
    lines = "\n".join("    " + line for line in body.splitlines())
    command = [sys.executable, "-W", "error", "-c", HEAD + lines + TAIL, *options]
    kept = {name: text for name, text in os.environ.items() if name != "NO_COLOR"}
    return Terminal(command, kept | {"TERM": "xterm", **environment})


@pytest.mark.programs
def test_lines_questions_and_warnings_go_by_above() -> None:
    body = f"""
console.step("up")
{LIVE.strip()}
    console.step("bob joined"); console.result("Name:", "x", name="x")
    await shown()
    logging.getLogger("vshare").warning("a limit was reached")
    await shown()
    with console.asking():
        answer = await ask_line("Let bob in? ", 5)
    console.detail(answer)
    await shown()
    console.step("Halting the share!")
console.step("over")
"""
    shown = on_a_terminal(body)
    shown.wait_for("Let bob in? ")
    time.sleep(0.2)  # for a line that must not come
    shown.type("yes\n")
    assert shown.end() == 0
    assert shown.seen.count("1 guest") >= 4
    rows = screen(shown.seen)
    rows[3] = rows[3][24:]  # the time
    assert rows == [
        "==> demo: up",
        "==> demo: bob joined",
        "==> demo: Name: x",
        "WARNING vshare: a limit was reached",
        "Let bob in? yes",
        "    demo: yes",
        "==> demo: Halting the share!",
        "==> demo: over",
        "",
    ]


@pytest.mark.programs
def test_ctrl_c_leaves_nothing_of_it() -> None:
    body = """
interrupt.serving = True
with console.live(lambda: "1 guest"):
    await interrupt.stopped.wait()
console.step("Halting the share!")
"""
    shown = on_a_terminal(body)
    shown.wait_for("1 guest")
    shown.type("\x03")
    assert shown.end() == 0
    assert screen(shown.seen) == ["==> demo: Halting the share!", ""]


@pytest.mark.programs
def test_the_second_ctrl_c_leaves_nothing_of_it_either() -> None:
    body = """
with console.busy("the machine takes the key"):
    try:
        await asyncio.sleep(60)
    finally:
        print("cleaning", flush=True)
        await asyncio.sleep(60)
"""
    shown = on_a_terminal(body)
    shown.wait_for("takes the key")
    shown.type("\x03")
    shown.wait_for("cleaning")
    shown.wait_for("takes the key")
    shown.type("\x03")
    assert shown.end() == 130
    assert "takes the key" not in screen(shown.seen)[-1]


@pytest.mark.programs
def test_busy_says_how_long_so_far() -> None:
    body = 'with console.busy("asking vagrant"):\n    await asyncio.sleep(1.3)\nconsole.step("x")'
    shown = on_a_terminal(body)
    shown.wait_for("asking vagrant... 1 s")
    assert shown.end() == 0
    assert screen(shown.seen) == ["==> demo: x", ""]


@pytest.mark.programs
@pytest.mark.parametrize(
    ("options", "environment", "times", "dim"),
    [
        ((), {}, 1, 1),
        ((), {"NO_COLOR": "1"}, 1, 0),
        ((), {"TERM": "dumb"}, 0, 0),
        (("--json",), {}, 0, 0),
        (("-v",), {}, 0, 0),
    ],
)
def test_where_it_has_its_place(
    options: tuple[str, ...], environment: dict[str, str], times: int, dim: int
) -> None:
    shown = on_a_terminal(LIVE, *options, **environment)
    assert shown.end() == 0
    assert shown.seen.count("1 guest") == times
    assert shown.seen.count("\x1b[2m") == dim


@pytest.mark.programs
def test_a_terminal_that_nobody_reads_holds_nothing_up(tmp_path: Path) -> None:
    """The line fills it, and other lines find it full."""
    body = """
from pathlib import Path
bottom_line.LOOK_EVERY = 0.001
console.waits_for_reader = False
looks = 0
def look():
    nonlocal looks
    looks += 1
    return str(looks) * 20
with console.live(look):
    for number in range(300):
        console.step(str(number) * 100)
        await asyncio.sleep(0.001)
    Path(sys.argv[1]).write_text("went on")
    while not Path(sys.argv[2]).exists():
        await asyncio.sleep(0.01)
    console.step("the last one")
"""
    wrote, read = tmp_path / "wrote", tmp_path / "read"
    shown = on_a_terminal(body, str(wrote), str(read))
    run(lambda: until(wrote.exists))
    shown.wait_for("0" * 100)
    read.touch()
    assert shown.end() == 0
    rows = screen(shown.seen, 10_000)
    assert rows[-2:] == ["==> demo: the last one", ""]
    assert re.fullmatch(r"    demo: \d+ lines were left out here, .*", rows[-3])


@pytest.mark.programs
def test_not_where_another_program_has_our_stdout() -> None:
    shown = on_a_terminal("os.dup2(os.open(os.devnull, os.O_WRONLY), 1)" + LIVE)
    assert shown.end() == 0
    assert shown.seen == ""


@pytest.mark.programs
def test_not_from_the_background() -> None:
    body = f"""
import signal
child = os.fork()
if not child:
    os.setpgid(0, 0)
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    os.tcsetpgrp(2, os.getpgrp())
    time.sleep(60)
while os.tcgetpgrp(2) == os.getpgrp():
    await asyncio.sleep(0.01)
try:
    {LIVE.strip().replace(chr(10), chr(10) + "    ")}
finally:
    os.kill(child, 9)
"""
    shown = on_a_terminal(body)
    assert shown.end() == 0
    assert shown.seen == ""


def test_a_console_without_a_terminal_has_no_line() -> None:
    async def main() -> None:
        words: Callable[[], str] = lambda: pytest.fail("nobody looks")  # noqa: E731
        console = Console("demo")
        with console.live(words) as shown:
            assert not shown
            with console.asking(), console.busy("waiting"):
                await asyncio.sleep(0.02)

    run(main)
