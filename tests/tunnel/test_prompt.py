"""Questions on a terminal: each test asks in a process of its own, on a pty."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import termios

import pytest

pytestmark = pytest.mark.programs

ASK = """
import asyncio, sys, uvloop
from tunnel.errors import UsageError
from tunnel.prompt import ask_hidden, ask_line

async def main():
    try:
        answer = await %s
        print(f"<{answer}>")
    except UsageError as error:
        print(f"{type(error).__name__}: {error}; {getattr(error, 'hint', '')}")
    print("end")

with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
    runner.run(main())
"""
HIDDEN = 'ask_hidden("Secret: ", "use --file FILE")'
LINE = 'ask_line("Let bob in? ", 10)'


class Asked:
    """`question` is being asked on a terminal of its own."""

    def __init__(self, question: str, typed_before: str = "") -> None:
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execv(sys.executable, [sys.executable, "-c", ASK % question])
        self.seen = ""
        self.type(typed_before)

    def type(self, text: str) -> None:
        os.write(self.fd, text.encode())

    def wait_for(self, text: str) -> None:
        while text not in self.seen:
            ready, _, _ = select.select([self.fd], [], [], 15)
            assert ready, self.seen
            try:
                self.seen += os.read(self.fd, 4096).decode()
            except OSError:
                raise AssertionError(self.seen) from None

    def echoes(self) -> bool:
        return bool(termios.tcgetattr(self.fd)[3] & termios.ECHO)

    def close(self) -> None:
        os.waitpid(self.pid, 0)
        os.close(self.fd)


def test_hidden() -> None:
    asked = Asked(HIDDEN)
    asked.wait_for("Secret: ")
    assert not asked.echoes()
    asked.type(" hun ter2 \n")
    asked.wait_for("<hun ter2>")
    assert asked.seen.count("hun") == 1
    assert asked.echoes()
    asked.close()


def test_nothing_typed() -> None:
    asked = Asked(HIDDEN)
    asked.wait_for("Secret: ")
    asked.type("\n")
    asked.wait_for("UsageError: nothing was typed; type it, or use --file FILE")
    asked.close()


def test_a_line() -> None:
    asked = Asked(LINE)
    asked.wait_for("Let bob in? ")
    assert asked.echoes()
    asked.type("yes\n")
    asked.wait_for("<yes>")
    asked.close()


@pytest.mark.parametrize("typed", ["\n", "\x04"])
def test_an_empty_line(typed: str) -> None:
    asked = Asked(LINE)
    asked.wait_for("Let bob in? ")
    asked.type(typed)
    asked.wait_for("<>")
    asked.close()


def test_what_was_typed_before_the_question_is_no_answer() -> None:
    asked = Asked('ask_line("Let bob in? ", 0.3)', typed_before="yes\n")
    asked.wait_for("<>")
    assert "<yes>" not in asked.seen
    asked.close()


def test_half_a_line_in_time() -> None:
    asked = Asked('ask_line("Let bob in? ", 0.3)')
    asked.wait_for("Let bob in? ")
    asked.type("ye")
    asked.wait_for("<>")
    asked.close()


@pytest.mark.parametrize("question", [HIDDEN, LINE])
def test_no_terminal(question: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ASK % question],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        start_new_session=True,
        timeout=15,
        check=True,
    )
    assert "UsageError: there is no terminal to ask on" in done.stdout


def test_in_the_background_it_is_not_stopped() -> None:
    """A shell gives the terminal to the program in front; who asks from behind gets an error."""
    inner = (
        "import os, subprocess, sys\n"
        "subprocess.run([sys.executable, '-c', os.environ['ASK']], process_group=0)\n"
        "print('over', flush=True)\n"
    )
    pid, fd = pty.fork()
    if pid == 0:
        os.environ["ASK"] = ASK % HIDDEN
        os.execv(sys.executable, [sys.executable, "-c", inner])
    asked = Asked.__new__(Asked)
    asked.pid, asked.fd, asked.seen = pid, fd, ""
    asked.wait_for("over")
    assert "the terminal belongs to another program; use --file FILE" in asked.seen
    asked.close()


SHELL = """
import os, signal, subprocess, sys
signal.signal(signal.SIGTTOU, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
job = subprocess.Popen([sys.executable, "-c", sys.argv[1]], process_group=0)
os.tcsetpgrp(0, job.pid)
signal.sigwait({signal.SIGUSR1})
os.tcsetpgrp(0, os.getpgrp())  # as Ctrl-Z and `bg` do
print("in the background", flush=True)
_, status = os.waitpid(job.pid, os.WUNTRACED)
print("was stopped" if os.WIFSTOPPED(status) else "has ended", flush=True)
job.kill()
"""


def test_in_the_background_an_open_question_stops_nothing() -> None:
    """What is typed then is for the shell; to read it would stop the whole process (SIGTTIN)."""
    asked = Asked.__new__(Asked)
    asked.seen = ""
    asked.pid, asked.fd = pty.fork()
    if asked.pid == 0:
        job = ASK % 'ask_line("Let bob in? ", 10)'
        os.execv(sys.executable, [sys.executable, "-c", SHELL, job])
    asked.wait_for("Let bob in? ")
    os.kill(asked.pid, signal.SIGUSR1)
    asked.wait_for("in the background")
    asked.type("ls\n")
    asked.wait_for("UsageError: the terminal belongs to another program")
    asked.wait_for("has ended")
    asked.close()
