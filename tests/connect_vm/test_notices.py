from __future__ import annotations

import asyncio
import math
import re
import time
from pathlib import Path
from typing import Any, cast

import pytest

from connect_vm.notices import DAY, FARTHEST, MAX_NAMES, Notices, at_time, in_words
from connect_vm.session import Options, Watch, connect
from tests.connect_vm.test_session import Screen
from tests.loops import run
from tests.share_pair import CODE, NAME, share_pair
from tunnel.address import parse_relay
from tunnel.console import Interrupt
from tunnel.errors import LostError, VshareError
from tunnel.frames import Notice


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 seconds"),
        (1, "1 second"),
        (45, "45 seconds"),
        (60, "1 minute"),
        (89, "89 seconds"),
        (100, "2 minutes"),
        (600, "10 minutes"),
        (599.6, "10 minutes"),
        (3600, "1 hour"),
        (5000, "83 minutes"),
        (2 * 3600, "2 hours"),
        (FARTHEST, "8784 hours"),
    ],
)
def test_in_words(seconds: float, words: str) -> None:
    assert in_words(seconds) == words


def test_at_time() -> None:
    assert re.fullmatch(r"\d\d:\d\d", at_time(600))
    day = time.strftime("%Y-%m-%d", time.localtime(time.time() + DAY))
    assert re.fullmatch(day + r" \d\d:\d\d", at_time(DAY))


@pytest.mark.parametrize(
    ("notice", "shown", "value"),
    [
        (Notice(1, "expires", "", 600), r"The share ends in 10 minutes \(\d\d:\d\d\)\.\.\.", 600),
        (Notice(1, "extended", "", 3600), r"The share was extended to \d\d:\d\d\.", 3600),
        (Notice(1, "expires", "", math.nan), r"The share ends in 0 seconds \(.*", 0),
        (Notice(1, "expires", "", 1e300), r"The share ends in 8784 hours \(.*", FARTHEST),
        (Notice(1, "expires", "", -5), r"The share ends in 0 seconds \(.*", 0),
        (Notice(1, "removed", "too late"), "You were removed by the sharer.", 0),
        (Notice(1, "ended"), "The share has ended.", 0),
        (Notice(1, "audit", "abc123"), "Audit log head: abc123", 0),
    ],
)
def test_what_is_shown(
    notice: Notice, shown: str, value: float, capsys: pytest.CaptureFixture[str]
) -> None:
    async def main() -> None:
        screen = Screen()
        Notices(screen)(notice)
        assert re.search(shown, capsys.readouterr().err)
        (event,) = screen.events
        assert (event["event"], event["kind"]) == ("notice", notice.kind)
        assert event["value"] == value

    run(main)


def test_an_unknown_kind_is_passed_over(capsys: pytest.CaptureFixture[str]) -> None:
    async def main() -> None:
        screen = Screen()
        notices = Notices(screen)
        notices(Notice(1, "weather", "rain", 3))
        assert not screen.events
        assert not notices.over.is_set()
        assert capsys.readouterr().err == ""

    run(main)


def test_another_name(capsys: pytest.CaptureFixture[str]) -> None:
    async def main() -> None:
        screen, told = Screen(), list[str]()
        notices = Notices(screen, parse_relay("relay.test:443"))
        notices.on_renamed = told.append
        notices(Notice(1, "renamed", "quiet-lynx-0002"))
        assert "`vconnect quiet-lynx-0002@relay.test:443`" in capsys.readouterr().err
        notices(Notice(2, "renamed", "; rm -rf ~"))  # which nobody is told to type
        assert capsys.readouterr().err == ""
        assert told == ["quiet-lynx-0002"]
        assert [(each["kind"], each["text"]) for each in screen.events] == [("renamed", told[0])]
        assert not notices.over.is_set()

    run(main)


def test_a_share_that_takes_name_after_name_is_believed_so_often() -> None:
    async def main() -> None:
        told: list[str] = []
        notices = Notices(Screen())
        notices.on_renamed = told.append
        for number in range(2 * MAX_NAMES):
            notices(Notice(number, "renamed", f"quiet-lynx-{number:04}"))
        assert len(set(told)) == MAX_NAMES

    run(main)


def test_the_first_end_counts_and_losses_are_told_no_more() -> None:
    async def main() -> None:
        screen = Screen()
        notices = Notices(screen)
        watch = Watch(NAME, screen, notices)
        watch.changed(None)
        notices(Notice(1, "removed", "no more seats"))
        notices(Notice(2, "ended"))
        watch.changed(LostError("gone"))
        assert notices.error is not None
        assert notices.error.text == "you were removed by the sharer: no more seats"
        assert [event["kind"] for event in screen.events] == ["removed"]

    run(main)


@pytest.mark.parametrize(
    ("kind", "text"),
    [("removed", "you were removed by the sharer"), ("ended", "the share has ended")],
)
def test_a_session_ends_with_the_shares_words(tmp_path: Path, kind: str, text: str) -> None:
    async def main() -> None:
        (tmp_path / "code").write_text(CODE)
        async with share_pair() as pair:
            calls = cast(dict[str, Any], pair.streams._calls)
            calls["share-info"] = lambda guest, policy: {"machine": "box", "ssh": "password"}
            calls["shared-ports"] = lambda guest, policy: {}
            options = Options(
                f"{NAME}@127.0.0.1:{pair.port}", code_file=tmp_path / "code", static_ip=False
            )
            screen = Screen()

            async def session() -> None:
                with pytest.raises(ExceptionGroup) as caught:
                    await connect(options, screen, Interrupt())
                assert caught.group_contains(VshareError, match=text)

            async with asyncio.TaskGroup() as group:
                group.create_task(session())
                await screen.came("running")
                pair.server.notify("expires", value=60)
                assert (await screen.came("notice"))["kind"] == "expires"
                pair.server.notify(kind)
                for connection in list(pair.server._connections):
                    connection.close()
            assert "lost" not in [event["event"] for event in screen.events]

    run(main)


def test_ssh_is_pointed_to(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def main() -> None:
        (tmp_path / "code").write_text(CODE)
        async with share_pair() as pair:
            calls = cast(dict[str, Any], pair.streams._calls)
            calls["share-info"] = lambda guest, policy: {"machine": "box", "ssh": "password"}
            calls["shared-ports"] = lambda guest, policy: {}
            line = f"{NAME}@127.0.0.1:{pair.port}"
            screen, interrupt = Screen(), Interrupt()
            options = Options(line, code_file=tmp_path / "code", static_ip=False)
            async with asyncio.TaskGroup() as group:
                group.create_task(connect(options, screen, interrupt))
                await screen.came("running")
                interrupt.stopped.set()
            assert f"SSH is shared: vconnect --ssh {line}\n" in capsys.readouterr().err

    run(main)
