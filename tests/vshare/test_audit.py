from __future__ import annotations

import itertools
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vshare.audit import CHUNK, AuditLog, log_files, open_log, read_lines, share_of, tail_lines
from vshare.audit_chain import MAX_LINE, START, Entry, Verdict, entries, verify
from vshare.news import News, Newsroom

NOW = 1_795_316_400.1234  # 2026-11-22T03:00:00Z


def must_not_warn(text: str) -> None:
    raise AssertionError(text)


def log_in(directory: Path, name: str = "my-share", max_bytes: int = 2**20) -> AuditLog:
    return open_log(
        name, must_not_warn, directory=directory, clock=lambda: NOW, max_bytes=max_bytes
    )


def joined(guest: str = "bob") -> News:
    return News("joined", f"{guest} joined", {"guest": guest, "address": "203.0.113.9"})


def stream(guest: str = "bob") -> News:
    return News("stream", "", {"guest": guest, "protocol": "tcp", "host": "web", "port": 80})


def check(path: Path, head: str) -> Verdict:
    with path.open("rb") as file:
        verdict = verify(read_lines(file), head)
    assert verdict.problem == ""
    assert verdict.following == 0
    return verdict


def read(path: Path) -> list[Entry]:
    with path.open("rb") as file:
        found = list(entries(read_lines(file)))
    assert all(isinstance(entry, Entry) for entry in found), found
    return [entry for entry in found if isinstance(entry, Entry)]


def test_a_newsroom_is_written_down(tmp_path: Path) -> None:
    room = Newsroom()
    with log_in(tmp_path / "log") as log:
        room.subscribe(log.news)
        assert log.head == START
        room.tell("started", "Sharing.", name="my-share", expires_at=NOW + 60, relay=None)
        room.tell("code-rotated", "The new code: secret-secret-secret")
        room.tell("notice", "the relay is away")
    room.tell("ended", reason="told after the log was closed")
    assert log.path.name == "my-share-20261122T030000Z.jsonl"
    assert log.path.stat().st_mode & 0o777 == 0o600
    assert log.path.parent.stat().st_mode & 0o777 == 0o700
    assert check(log.path, log.head).lines == 3
    started, rotated, notice = read(log.path)
    assert started.time == round(NOW, 3)
    assert started.fields == {"name": "my-share", "expires_at": NOW + 60, "relay": None}
    assert (rotated.event, rotated.fields) == ("code-rotated", {})
    assert notice.fields == {"text": "the relay is away"}
    assert b"secret" not in log.path.read_bytes()


def test_it_can_be_read_while_it_is_written(tmp_path: Path) -> None:
    with log_in(tmp_path) as log:
        for number in range(1, 4):
            log.news(joined())
            assert check(log.path, log.head).lines == number


def test_shares_of_one_second_have_files_of_their_own(tmp_path: Path) -> None:
    with log_in(tmp_path) as first, log_in(tmp_path) as second, log_in(tmp_path, "web") as other:
        for log in (first, second, other):
            log.news(joined())
    assert second.path.name == "my-share-20261122T030000Z-2.jsonl"
    (tmp_path / "notes.txt").write_text("not a log")
    assert log_files(directory=tmp_path) == [first.path, other.path, second.path]
    assert log_files("my-share", tmp_path) == [first.path, second.path]
    assert log_files("my", tmp_path) == []
    assert log_files(directory=tmp_path / "none") == []
    assert [share_of(path) for path in log_files(directory=tmp_path)] == [
        "my-share", "web", "my-share",
    ]  # fmt: skip
    assert share_of(Path("notes.txt")) == ""


def test_another_name(tmp_path: Path) -> None:
    with log_in(tmp_path) as log, log_in(tmp_path, "taken") as taken:
        log.news(joined("ann"))
        log.rename("other-name")
        log.news(joined("bob"))
        assert log.path.name == "other-name-20261122T030000Z.jsonl"
        log.rename("taken")  # its log is not replaced
        log.news(joined("cem"))
        assert taken.path != log.path
    assert [str(each.fields["guest"]) for each in read(log.path)] == ["ann", "bob", "cem"]
    assert log_files("my-share", tmp_path) == []
    assert log_files("other-name", tmp_path) == [log.path]
    check(log.path, log.head)


def test_another_name_before_there_is_a_file(tmp_path: Path) -> None:
    log = log_in(tmp_path)
    log.rename("other-name")
    with log:
        log.news(joined())
    assert log_files("other-name", tmp_path) == [log.path]


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "my-share-20261122T030000Z.jsonl").symlink_to(tmp_path / "elsewhere")
    with log_in(tmp_path) as log:
        log.news(joined())
    assert not (tmp_path / "elsewhere").exists()
    check(log.path, log.head)


def test_hostile_words_are_cut(tmp_path: Path) -> None:
    with log_in(tmp_path) as log:
        log.news(joined("\x1b]0;pwned\a\n\ud800" * 1000))
        log.news(joined())
    assert check(log.path, log.head).lines == 2
    assert len(str(read(log.path)[0].fields["guest"])) == 300


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """A disk that is full beyond `size` bytes of a file, as the kernel does it: the write that
    crosses the limit is short, the next one fails."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


@pytest.mark.parametrize("room", [0, 1, 100])
def test_a_full_disk_is_a_gap(tmp_path: Path, room: int) -> None:
    warnings: list[str] = []
    with open_log("my-share", warnings.append, directory=tmp_path) as log:
        log.news(joined("ann"))
        with file_size_limit(log.path.stat().st_size + room):
            log.news(joined("bob"))
            log.news(stream())
        log.news(joined("carl"))
        with file_size_limit(log.path.stat().st_size + room):
            log.news(stream())
    assert check(log.path, log.head).lines == 4
    ann, gap, carl, last = read(log.path)
    assert (ann.fields["guest"], carl.fields["guest"]) == ("ann", "carl")
    assert (gap.event, gap.fields) == ("gap", {"missed": 2, "omitted": 0})
    assert (last.event, last.fields) == ("gap", {"missed": 1, "omitted": 0})
    assert len(warnings) == 1
    assert "cannot be written: " in warnings[0]


def test_a_warning_that_is_news_again(tmp_path: Path) -> None:
    """The warning's way to the screen leads through the newsroom, so back here."""
    room = Newsroom()
    seen: list[News] = []
    room.subscribe(seen.append)
    full = tmp_path / "a file"
    full.write_text("")
    with open_log(
        "my-share", lambda text: room.tell("notice", text, warning=True), directory=full
    ) as log:
        room.subscribe(log.news)
        room.tell("joined", guest="bob")
    assert [news.kind for news in seen] == ["notice", "joined"]
    assert log.head == START


def test_a_directory_that_appears_later(tmp_path: Path) -> None:
    blocker = tmp_path / "log"
    blocker.write_text("")
    warnings: list[str] = []
    with open_log("my-share", warnings.append, directory=blocker) as log:
        log.news(joined("bob"))
        blocker.unlink()
        log.news(joined("carl"))
    gap, carl = read(log.path)
    assert gap.fields["missed"] == 1
    assert carl.fields["guest"] == "carl"
    assert len(warnings) == 1
    check(log.path, log.head)


def test_streams_are_bounded_and_the_rest_is_not(tmp_path: Path) -> None:
    with log_in(tmp_path, max_bytes=1000) as log:
        for _ in range(50):
            log.news(stream())
        size = log.path.stat().st_size
        assert 1000 <= size < 1000 + MAX_LINE
        log.news(News("refused", "", {"guest": "bob", "text": "no"}))
        assert log.path.stat().st_size == size
        log.news(joined())
        log.news(stream())
    *streams, gap, bob, last = read(log.path)
    assert {entry.event for entry in streams} == {"stream"}
    assert gap.fields == {"missed": 0, "omitted": 51 - len(streams)}
    assert bob.event == "joined"
    assert last.fields == {"missed": 0, "omitted": 1}
    check(log.path, log.head)


@given(
    st.lists(
        st.tuples(st.sampled_from(["joined", "stream"]), st.none() | st.integers(0, 300)),
        max_size=15,
    )
)
def test_every_event_is_written_or_counted(events: list[tuple[str, int | None]]) -> None:
    """Whatever the disk does, and however full the file is."""
    with TemporaryDirectory() as directory:
        with open_log("web", lambda _: None, directory=Path(directory), max_bytes=900) as log:
            for kind, room in events:
                size = log.path.stat().st_size
                with file_size_limit(size + room) if room is not None else nullcontext():
                    log.news(News(kind, "", {"guest": "bob"}))
        check(log.path, log.head)
        found = read(log.path)
    gaps = [entry.fields for entry in found if entry.event == "gap"]
    counted = sum(int(str(gap[key])) for gap in gaps for key in ("missed", "omitted"))
    assert len(found) - len(gaps) + counted == len(events)


_WRITER = """
import sys
from pathlib import Path
from vshare.audit import open_log
from vshare.news import News

with open_log("my-share", sys.exit, directory=Path(sys.argv[1])) as log:
    print(log.path, flush=True)
    while True:
        log.news(News("joined", "", {"guest": "x" * 300}))
"""


@pytest.mark.programs
def test_a_killed_share_leaves_a_log(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        path = Path(process.stdout.readline().strip())
        while path.stat().st_size < 100_000:
            os.sched_yield()
        process.kill()
    with path.open("rb") as file:
        verdict = verify(read_lines(file))
    assert verdict.lines > 100
    assert verdict.problem == "" or "unfinished" in verdict.problem


def test_a_long_line_takes_little_memory_and_one_place(tmp_path: Path) -> None:
    path = tmp_path / "long"
    path.write_bytes(b"x" * (5 * MAX_LINE) + b"\n" + b"y\n" + b"z" * MAX_LINE)
    with path.open("rb") as file:
        lengths = [len(line) for line in read_lines(file)]
    assert lengths == [MAX_LINE + 1, 2, MAX_LINE]


@pytest.mark.parametrize("long", [MAX_LINE + 1, CHUNK - 1, CHUNK, CHUNK + 1, 5 * CHUNK])
def test_a_log_that_is_followed(tmp_path: Path, long: int) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"a\nb\r\n" + b"x" * long + b"\nc\n\nc\n" + b"torn")
    with path.open("rb") as file:
        lines = tail_lines(file)
        found = list(itertools.takewhile(bool, lines))
        assert found[:2] == [b"a\n", b"b\r\n"]
        assert MAX_LINE < len(found[2]) <= long + 1
        assert found[3:] == [b"c\n", b"\n", b"c\n"]
        assert next(lines) == b""
        with path.open("r+b") as writer:
            writer.truncate(path.stat().st_size - 4)
            writer.seek(0, os.SEEK_END)
            writer.write(b"whole\nnext")
        assert list(itertools.takewhile(bool, lines)) == [b"whole\n"]
