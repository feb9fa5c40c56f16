from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pytest

from tests.commands import Command, end, wait_for
from tunnel.command import run_command
from vshare.audit import AuditLog, open_log
from vshare.audit_chain import MAX_LINE, Entry, serialize
from vshare.audit_words import sentence, size
from vshare.cli_log import log as log_command
from vshare.news import News, Value

NOW = 1_795_316_400.5  # 2026-11-22T03:00:00.5Z


def main() -> NoReturn:
    run_command(log_command, "vshare log", "vshare")


@pytest.fixture
def vshare_log(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> Iterator[Command]:
    """The command, on a state directory of its own; its clock is an hour ahead of UTC."""
    monkeypatch.chdir(tmp_path)
    with monkeypatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
        patch.setenv("TZ", "XXX-1")
        time.tzset()
        yield Command("vshare log", main, monkeypatch, capfd)
    time.tzset()


def write(name: str = "web", *, at: float = NOW, reason: str = "Ctrl-C") -> AuditLog:
    """The log of a share that has ended."""

    def fail(text: str) -> None:
        raise AssertionError(text)

    with open_log(name, fail, clock=lambda: at) as log:
        log.news(News("joined", "", {"guest": "bob", "address": "203.0.113.9", "invite": ""}))
        stream: dict[str, Value] = {"guest": "bob", "protocol": "tcp", "host": "web", "port": 5432}
        stream |= {"bytes_in": 12_300, "bytes_out": 1_200_000, "seconds": 3.21, "code": ""}
        log.news(News("stream", "", stream))
        log.news(News("ended", "", {"reason": reason}))
    return log


def test_the_newest_log_in_plain_words(vshare_log: Command) -> None:
    write("older", at=NOW - 60)
    write()
    outcome = vshare_log()
    assert outcome.code == 0
    assert outcome.err == ""
    assert outcome.out.splitlines() == [
        "2026-11-22 04:00:00  bob joined from 203.0.113.9 (the relay's word)",
        "2026-11-22 04:00:00  bob: tcp 5432, 12.3 kB in, 1.2 MB out, 3.2 s",
        "2026-11-22 04:00:00  the share ended: Ctrl-C",
    ]


def test_which_log_is_meant(vshare_log: Command, tmp_path: Path) -> None:
    older, newer = write("web", at=NOW, reason="A"), write("web", at=NOW + 60, reason="B")
    listed, verify = write("list", at=NOW - 60, reason="C"), write("verify", at=NOW - 60)
    assert "ended: B" in vshare_log("web").out
    assert "ended: B" in vshare_log("show", "web").out
    assert "ended: A" in vshare_log(str(older.path)).out
    assert "ended: A" in vshare_log(older.path.name).out  # as the folder shows it
    assert "ended: C" in vshare_log("show", "list").out  # a share may be called so
    assert str(verify.path) in vshare_log("verify", "verify").out
    assert str(newer.path) in vshare_log("verify").out
    (tmp_path / "copy").write_bytes(listed.path.read_bytes())
    assert "ended: C" in vshare_log("copy").out
    (tmp_path / "web").write_bytes(listed.path.read_bytes())
    assert "ended: B" in vshare_log("web").out
    assert "ended: C" in vshare_log("./web").out


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        ("", 1, "no share has left a log in "),
        ("verify", 1, "no share has left a log in "),
        ("nobody", 1, "there is no log of a share 'nobody', and no such file"),
        ("./nobody", 1, "there is no file './nobody'"),
        ("nobody.jsonl", 1, "there is no file 'nobody.jsonl'"),
        ("/", 1, "cannot read /: is a directory"),
        ("--bogus", 2, "no such option"),
        ("one two", 2, "unexpected extra argument"),
        ("verify --head 12", 2, "not the head of a log: '12'"),
        (f"verify --head {'g' * 64}", 2, "not the head of a log"),
        (f"verify --head {'0' * 65}", 2, "not the head of a log"),
    ],
)
def test_what_cannot_be_read(vshare_log: Command, arguments: str, code: int, text: str) -> None:
    vshare_log(*arguments.split()).check_error(code, text)


def test_json_is_the_file(vshare_log: Command) -> None:
    log = write()
    assert vshare_log("--json").out.encode() == log.path.read_bytes()
    assert vshare_log("web", "--json").out.encode() == log.path.read_bytes()


def test_the_list(vshare_log: Command) -> None:
    assert vshare_log("list").out == ""
    logs = [write("web", at=NOW), write("a-long-name", at=NOW + 1)]
    lines = vshare_log("list").out.splitlines()
    assert [line.split()[2] for line in lines] == ["web", "a-long-name"]
    assert [line.split()[-1] for line in lines] == [str(log.path) for log in logs]
    assert lines[0].index("bytes") == lines[1].index("bytes")
    listed = [json.loads(line) for line in vshare_log("list", "--json").out.splitlines()]
    assert [(each["share"], each["path"]) for each in listed] == [
        ("web", str(logs[0].path)),
        ("a-long-name", str(logs[1].path)),
    ]


def test_a_whole_log_is_verified(vshare_log: Command) -> None:
    log = write()
    outcome = vshare_log("verify")
    assert outcome.code == 0
    assert f"{log.path}: 3 lines in order\nhead: {log.head}\n" in outcome.out
    assert "0 lines after it" in vshare_log("verify", "web", "--head", log.head).out
    earlier = json.loads(log.path.read_bytes().splitlines()[2])["prev"]
    assert "1 line after it" in vshare_log("verify", "--head", earlier).out
    assert "1 line after it" in vshare_log("verify", "--head", earlier[:32].upper()).out
    found = json.loads(vshare_log("verify", "--json", "--head", earlier).out)
    assert (found["lines"], found["head"], found["following"]) == (3, log.head, 1)


def test_what_was_done_to_a_log_shows(vshare_log: Command) -> None:
    log = write()
    whole = log.path.read_bytes()
    first, second, third = whole.splitlines(keepends=True)
    for content, line, text in (
        (first.replace(b"bob", b"eve") + second + third, 2, "does not continue the line before"),
        (first + third, 2, "taken out, put in or moved"),
        (second + third, 1, "taken out, put in or moved"),
        (first + third + second, 2, "taken out, put in or moved"),
        (whole[:-5], 3, "is unfinished"),
        (first + b"\x1b[2J\n" + second, 2, "is not a line of an audit log"),
        (first + b"x" * (MAX_LINE * 3), 2, "is longer than"),
    ):
        log.path.write_bytes(content)
        outcome = vshare_log("verify")
        outcome.check_error(1, text)
        assert f"line {line} of " in outcome.err
    log.path.write_bytes(first + second)
    assert vshare_log("verify").code == 0  # which is why there are heads
    vshare_log("verify", "--head", log.head).check_error(1, "does not occur in ")


def test_what_peers_wrote_stays_off_the_terminal(vshare_log: Command, tmp_path: Path) -> None:
    log = write("web", reason="\x1b]0;pwned\x07\x9b\u202e\ud800")
    forged = b'{"n":0,"time":1e300,"event":"joined","guest":"\xc2\x9b2J\x7f","prev":"\x1b"}\n'
    (tmp_path / "forged").write_bytes(log.path.read_bytes() + forged + b"\x1b[2J\xc2\x9b\n\xff")
    for arguments in (("forged",), ("--json", "forged"), ("verify", "forged")):
        outcome = vshare_log(*arguments)
        for char in outcome.out + outcome.err:
            assert char.isprintable() or char == "\n"
    assert "\N{REPLACEMENT CHARACTER}]0;pwned" in vshare_log().out
    assert vshare_log("forged").out.count("this line is") == 3


@pytest.mark.parametrize("event", ["started", "joined", "stream", "invite-made", "gap", "new-one"])
@pytest.mark.parametrize("value", ["", "x", 0, -1, 10**400, 1e308, None, True])
def test_a_sentence_for_any_fields(event: str, value: Value) -> None:
    keys = "guest machine name relay shared address invite once ports expires_at bytes_in seconds"
    fields = dict.fromkeys(keys.split(), value)
    for given in (fields, {}):
        assert sentence(Entry(0, 0, event, given, ""), lambda at: "then")


@pytest.mark.parametrize(
    ("event", "fields", "text"),
    [
        (
            "started",
            {"machine": "web", "name": "a-b-1", "relay": "r:443", "expires_at": 1, "shared": "all"},
            "web is shared as a-b-1 through the relay r:443 until then; shared: all",
        ),
        ("started", {"machine": "web", "name": "a-b-1"}, "web is shared as a-b-1"),
        (
            "joined",
            {"guest": "bob", "address": "1.2.3.4", "invite": "otter"},
            "bob joined from 1.2.3.4 (the relay's word), by the invite otter",
        ),
        ("join-failed", {"address": "1.2.3.4", "reason": "no"}, "a join from 1.2.3.4 failed: no"),
        (
            "refused",
            {"guest": "bob", "protocol": "udp", "host": "db", "port": 53, "reason": "no"},
            "bob: udp db:53 was refused: no",
        ),
        (
            "stream",
            {"guest": "gateway", "protocol": "tcp", "port": 80, "bytes_in": 1, "bytes_out": 999,
             "seconds": 0, "code": "timed-out"},
            "gateway: tcp 80, 1 byte in, 999 bytes out, 0.0 s, ended by timed-out",
        ),
        (
            "invite-made",
            {"invite": "otter", "guest": "ann", "once": True, "expires_at": 5, "ports": "80"},
            "the invite otter was made for ann, good for once, ports 80 until then",
        ),
        ("extended", {"expires_at": 5.5}, "the share was extended until then"),
        ("gap", {"missed": 2, "omitted": 0}, "gap: events that could not be written: 2"),
        ("new-one", {"a": 1, "b": "x"}, "new-one a=1 b=x"),
        (
            "url-guessing",
            {"address": "", "failures": 100},
            "the URL's password is guessed from many addresses: 100 wrong tries",
        ),
        ("kicked", {}, "? was removed"),
    ],
)  # fmt: skip
def test_sentences(event: str, fields: dict[str, Value], text: str) -> None:
    assert sentence(Entry(0, 0, event, fields, ""), lambda at: "then") == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1.0 kB"),
        (999_949, "999.9 kB"),
        (999_950, "1.0 MB"),
        (5 * 10**15, "5000.0 TB"),
    ],
)
def test_sizes(count: int, text: str) -> None:
    assert size(count) == text


_MAIN = """
from tunnel.command import run_command
from vshare.cli_log import log
run_command(log, "vshare log", "vshare")
"""


def buffered() -> dict[str, str]:
    """An environment in which Python buffers what goes to a pipe, as it does by itself."""
    return {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}


@contextmanager
def running(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """The command as a process."""
    with subprocess.Popen(
        [sys.executable, "-c", _MAIN, *arguments],
        env=buffered(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.usefixtures("vshare_log")
@pytest.mark.programs
def test_a_log_is_followed_to_its_end() -> None:
    with open_log("web", print) as log:
        log.news(News("joined", "", {"guest": "ann"}))
        with running("-f") as process:
            wait_for(process, "ann joined", on_stdout=True)
            log.news(News("joined", "", {"guest": "bob"}))
            wait_for(process, "bob joined", on_stdout=True)
            torn = serialize(Entry(2, NOW, "joined", {"guest": "nobody"}, log.head))[:-20]
            with log.path.open("ab") as file:
                file.write(torn)
            os.truncate(log.path, log.path.stat().st_size - len(torn))
            log.news(News("ended", "", {"reason": "bye"}))
            out, err = process.communicate(timeout=15)
    assert out.endswith("the share ended: bye\n")
    assert "nobody" not in out
    assert err == ""
    assert process.returncode == 0


@pytest.mark.usefixtures("vshare_log", "default_signals")
@pytest.mark.programs
def test_ctrl_c_ends_following() -> None:
    with open_log("web", print) as log:
        log.news(News("joined", "", {"guest": "ann"}))
        with running("-f", "web", "--json") as process:
            wait_for(process, "ann", on_stdout=True)
            outcome = end(process, signal.SIGINT)
    assert (outcome.code, outcome.out, outcome.err) == (0, "", "")


@pytest.mark.usefixtures("vshare_log")
@pytest.mark.parametrize("arguments", [(), ("-f",), ("--json",)])
@pytest.mark.programs
def test_a_reader_that_has_enough(arguments: tuple[str, ...]) -> None:
    with open_log("web", print) as log:
        for _ in range(2000):
            log.news(News("joined", "", {"guest": "ann" * 100}))
        log.news(News("ended", "", {"reason": "bye"}))
    with running(*arguments) as process:
        wait_for(process, "ann", on_stdout=True)
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == ""
        assert process.wait(15) == 0


@pytest.mark.usefixtures("vshare_log")
@pytest.mark.parametrize("command", ["show", "verify", "list"])
@pytest.mark.programs
def test_a_reader_that_is_gone(command: str) -> None:
    """Little is printed: all of it is still buffered when the pipe turns out to be broken."""
    write()
    reader, writer = os.pipe()
    os.close(reader)
    process = subprocess.run(
        [sys.executable, "-c", _MAIN, command],
        env=buffered(),
        stdout=writer,
        stderr=subprocess.PIPE,
        timeout=15,
        check=False,
    )
    os.close(writer)
    assert (process.returncode, process.stderr) == (0, b"")
