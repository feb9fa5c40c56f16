from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import threading
import time

import pytest

from tunnel.console import Console, printable

pytestmark = pytest.mark.programs

HEAD = """
import asyncio, sys
from pathlib import Path
from tunnel.codes import Code
from tunnel.console import Console, run
from tunnel.errors import *
console = Console("demo", as_json="--json" in sys.argv, verbose="-v" in sys.argv)
async def work(interrupt):
"""
TAIL = "\nsys.exit(run(console, work))\n"


def script(body: str) -> list[str]:
    lines = "\n".join("    " + line for line in body.splitlines())
    return [sys.executable, "-W", "error", "-c", HEAD + lines + TAIL]


def finished(body: str, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*script(body), *options], capture_output=True, text=True, timeout=20, check=False
    )


def test_results_go_to_stdout_and_the_story_to_stderr() -> None:
    done = finished("console.step('begins'); console.result('Name:', 'x', name='x')")
    assert (done.returncode, done.stdout) == (0, "==> demo: Name: x\n")
    assert done.stderr == "==> demo: begins\n"


def test_json_alone_on_stdout() -> None:
    done = finished(
        "console.result('Name:', 'x', event='name', name='x')\n"
        "raise RefusedError(Code.BUSY, 'full', 'wait')",
        "--json",
    )
    assert done.returncode == 1
    assert [json.loads(line) for line in done.stdout.splitlines()] == [
        {"event": "name", "name": "x"},
        {"event": "error", "text": "full", "hint": "wait", "code": "busy"},
    ]
    assert done.stderr == "error: full\nhint: wait\n"


@pytest.mark.parametrize(
    ("body", "code", "text"),
    [
        ("raise UsageError('not a port: 0', 'ports begin at 1')", 2, "hint: ports begin at 1"),
        ("raise LostError('gone')", 1, "error: gone\n"),
        ("raise LostError('evil \\x1b[2J')", 1, "error: evil \N{REPLACEMENT CHARACTER}[2J\n"),
        ("1 / 0", 1, "error: something went wrong inside: ZeroDivisionError"),
    ],
)
def test_errors_are_said_without_a_traceback(body: str, code: int, text: str) -> None:
    done = finished(body)
    assert done.returncode == code
    assert text in done.stderr
    assert "Traceback" not in done.stderr


def test_a_fault_of_ours_with_v_shows_where() -> None:
    done = finished("1 / 0", "-v")
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr
    assert "Traceback" in done.stderr


def test_an_error_of_a_task_inside_is_the_one_shown() -> None:
    body = "async with asyncio.TaskGroup() as group:\n    group.create_task(other())"
    head = "async def other():\n    raise LostError('deep inside')\n"
    done = finished(head + body)
    assert (done.returncode, done.stderr) == (1, "error: deep inside\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    ("serving", "code", "last"), [(False, 130, "interrupted\n"), (True, 0, "stopped\n")]
)
def test_a_signal_cancels_the_setting_up_and_ends_the_serving(
    number: signal.Signals, serving: bool, code: int, last: str
) -> None:
    body = f"""
interrupt.serving = {serving}
print("ready", flush=True)
try:
    await interrupt.stopped.wait()
    print("stopped", file=sys.stderr)
finally:
    print("cleaned up", flush=True)
"""
    with subprocess.Popen(
        script(body), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
    if not serving:  # `stopped` is set and the task cancelled in one go: either may be seen
        err = err.removeprefix("stopped\n")
    assert (process.returncode, out, err) == (code, "cleaned up\n", last)


def test_the_second_signal_ends_it_at_once() -> None:
    body = """
interrupt.serving = True
print("ready", flush=True)
await interrupt.stopped.wait()
print("stopping", flush=True)
await asyncio.sleep(1000)
"""
    with subprocess.Popen(script(body), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "stopping\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130


def test_control_characters_do_not_reach_the_terminal() -> None:
    assert printable("a\x1b[0mb\r\n\u202ec") == "a\ufffd[0mb\ufffd\ufffd\ufffdc"


def test_nor_do_those_of_the_machine_that_is_told_of(capsys: pytest.CaptureFixture[str]) -> None:
    """A share says what is shared beside it, and a Vagrantfile of somebody else's has names."""
    console = Console("a\x1b]52;c;eA==\x07").beside("b\x1b[2J" + "c" * 1_000)
    console.step("x")
    console.detail("x")
    console.result("x:", "y")
    console.machine = "d\u202e"
    console.warn("x")
    shown = capsys.readouterr()
    assert "".join(shown).replace("\n", "").isprintable()
    assert "b\ufffd[2Jccc" in shown.err
    assert len(max("".join(shown).splitlines(), key=len)) < 100


WAIT = "interrupt.serving = True; console.step('up'); await interrupt.stopped.wait()"


@pytest.mark.usefixtures("default_signals")
def test_a_terminal_that_is_closed_ends_it_in_good_order() -> None:
    body = WAIT + "\nawait asyncio.sleep(0.2)\nPath(sys.argv[1]).write_text('cleaned up')"
    with tempfile.NamedTemporaryFile("r") as file:
        command = [*script(body), file.name]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            assert "up" in process.stderr.readline()
            process.send_signal(signal.SIGHUP)
            process.send_signal(signal.SIGHUP)  # the shell's, and the kernel's
            assert process.wait(20) == 0
        assert file.read() == "cleaned up"


def test_under_nohup_a_closed_terminal_ends_nothing() -> None:
    body = WAIT
    with subprocess.Popen(
        ["sh", "-c", "trap '' HUP; exec \"$@\"", "sh", *script(body)],
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        assert "up" in process.stderr.readline()
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_reader_that_has_gone_ends_nothing(stream: str) -> None:
    body = """
import time
print("ready", file=sys.stdout if sys.argv[1] == "stderr" else sys.stderr, flush=True)
sys.stdin.readline()
for _ in range(3):
    console.step("s"); console.result("Name:", "x", name="x"); console.event(event="e")
Path(sys.argv[2]).write_text("went on")
"""
    with tempfile.NamedTemporaryFile("r") as file:
        command = [*script(body), stream, file.name]
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        with subprocess.Popen(command, text=True, **pipes) as process:  # type: ignore[call-overload]
            other = process.stderr if stream == "stdout" else process.stdout
            gone = process.stdout if stream == "stdout" else process.stderr
            assert other.readline() == "ready\n"
            gone.close()
            process.stdin.write("\n")
            process.stdin.close()
            said = other.read()
            assert process.wait(20) == 0
        assert file.read() == "went on"
        assert "Traceback" not in said
        assert "BrokenPipe" not in said


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_reader_that_reads_nothing_holds_nothing_up(stream: str) -> None:
    body = """
console.as_json = sys.argv[1] == "stdout"
console.waits_for_reader = False
for number in range(20_000):
    console.step("s"); console.event(event="e", number=number)
Path(sys.argv[2]).write_text("went on")
if sys.argv[1] == "stdout":
    print("full", file=sys.stderr, flush=True)
    sys.stdin.readline()
    console.event(event="last")
"""
    with tempfile.NamedTemporaryFile("r") as file:
        command = [*script(body), stream, file.name]
        pipes = {"stdin": subprocess.PIPE, stream: subprocess.PIPE}
        if stream == "stdout":
            pipes["stderr"] = subprocess.PIPE
        else:
            pipes["stdout"] = subprocess.DEVNULL
        with subprocess.Popen(command, text=True, **pipes) as process:  # type: ignore[call-overload]
            if stream == "stderr":
                assert process.wait(20) == 0  # with its pipe full
                assert file.read() == "went on"
                return
            story = iter(process.stderr)
            assert any("full" in line for line in story)
            assert file.read() == "went on"
            lines = [json.loads(process.stdout.readline()) for _ in range(100)]
            reading = threading.Thread(target=lambda: lines.extend(map(json.loads, process.stdout)))
            reading.start()
            while len(lines) < 1000:  # there is room again
                time.sleep(0.001)
            process.stdin.write("\n")
            process.stdin.close()
            reading.join(20)
            assert process.wait(20) == 0
    numbers = [line["number"] for line in lines if line["event"] == "e"]
    assert numbers == list(range(len(numbers)))
    (left,) = [line["lines"] for line in lines if line["event"] == "left-out"]
    assert left >= 20_000 - len(numbers)
    assert lines[-1] == {"event": "last"}
