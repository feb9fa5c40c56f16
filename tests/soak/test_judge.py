from __future__ import annotations

import contextlib
import os
from pathlib import Path

import msgspec
import pytest

from tests.soak import content, watch
from tests.soak.faults import SERVICE, Fault
from tests.soak.judge import NO_ECHO, judge
from tests.soak.records import Record, Result
from tests.soak.watch import Sample, trends

CUT = Fault("cut", 100.0, 110.0)


def record(kind: str, opened: float, ended: float, result: Result = Result.OK) -> Record:
    began = opened or ended - 1.0
    return Record(
        kind=kind, way="socks", began=began, opened=opened, ended=ended, result=result, moved=5
    )


PROBES = [record("probe", at, at + 0.1) for at in (90.0, 111.0, 115.0)]


def violations(*records: Record, fault: Fault = CUT) -> list[str]:
    return judge([*PROBES, *records], [fault]).violations


def test_all_is_well() -> None:
    verdict = judge([*PROBES, record("down", 95.0, 130.0)], [CUT])
    assert verdict.violations == []
    (outcome,) = verdict.outcomes
    assert (outcome.open, outcome.went_on, outcome.broken) == (1, 1, 0)
    assert outcome.first == {"socks": pytest.approx(1.1)}


@pytest.mark.parametrize("result", [Result.WRONG, Result.HUNG])
def test_wrong_bytes_and_hanging_are_never_excused(result: Result) -> None:
    for fault in (CUT, Fault(SERVICE, 100.0, 110.0)):
        assert violations(record("down", 95.0, 105.0, result), fault=fault)


def test_an_open_stream_must_go_on() -> None:
    broken = record("echo", 95.0, 105.0, Result.ERROR)
    assert violations(broken)
    assert not violations(broken, fault=Fault(SERVICE, 100.0, 110.0))


def test_one_that_was_not_opened_is_excused_while_the_fault_lasts() -> None:
    assert not violations(record("down", 0.0, 105.0, Result.ERROR))
    assert violations(record("down", 0.0, 120.0, Result.ERROR))
    assert violations(record("down", 0.0, 99.0, Result.ERROR))


def test_new_streams_are_late_or_fail() -> None:
    late = [record("probe", 90.0, 90.1), record("probe", 112.1, 112.2)]
    assert judge(late, [CUT]).violations == ["cut: a new stream by socks only after 2.2 s"]
    assert violations(record("probe", 0.0, 114.0, Result.ERROR))
    assert not violations(record("probe", 0.0, 110.5, Result.ERROR))


def test_a_visitor_of_the_url_may_be_cut_off_but_not_deceived() -> None:
    assert not violations(record("curl", 95.0, 105.0, Result.ERROR))
    assert violations(record("curl", 95.0, 105.0, Result.WRONG))
    assert violations(record("curl", 90.0, 99.0, Result.ERROR))


def test_what_nobody_is_told_takes_longer_to_find_out() -> None:
    late = [record("probe", 90.0, 90.1), record("probe", 113.2, 113.3)]
    assert not judge(late, [Fault("NAT of alice forgot all", 100.0, 110.0)]).violations
    assert judge(late, [Fault("NAT of bob forgot all", 100.0, 110.0)]).violations
    later = [record("probe", 90.0, 90.1), record("probe", 113.5, 113.6)]
    assert judge(later, [Fault("NAT of alice forgot all", 100.0, 110.0)]).violations


def test_a_new_stream_that_the_next_fault_ended() -> None:
    faults = [CUT, Fault(SERVICE, 120.0, 120.5)]
    probes = [record("probe", at, at + 0.1) for at in (90.0, 111.0, 121.0)]
    ended = record("probe", 117.0, 120.1, Result.ERROR)
    assert judge([*probes, ended], faults).violations == []
    assert judge([*probes, record("probe", 117.0, 119.0, Result.ERROR)], faults).violations


def test_a_paused_reader_hears_later_that_the_server_was_restarted() -> None:
    faults = [Fault(SERVICE, 100.0, 100.1), Fault("cut", 120.0, 121.0)]
    probes = [record("probe", at, at + 0.1) for at in (101.0, 121.5)]
    stream = record("paused", 95.0, 125.0, Result.ERROR)
    assert judge([*probes, stream], faults).violations == []


def test_datagrams_are_not_repeated() -> None:
    twice = Record(
        kind="udp", way="ip", began=1.0, opened=1.0, ended=2.0, result=Result.OK, repeated=1
    )
    assert judge([twice], []).violations == ["udp by ip: 1 datagrams twice"]


def test_growth_is_told() -> None:
    flat = [Sample(float(at), "flat", 50_000 + at % 3, 20) for at in range(100)]
    leak = [Sample(float(at), "leak", 50_000 + 1000 * at, 20 + at * 3) for at in range(100)]
    found = {each.name: each.complaints() for each in trends(flat + leak, 0.0, 100.0)}
    assert found["flat"] == []
    assert [text.split(" ->")[0] for text in found["leak"]] == [
        "leak: memory 87000",
    ]


def test_files_that_stay_open_are_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(watch, "RESTED_WITHIN", 0.0)
    own = {"leak": os.getpid()}
    before = watch.count_files(own)
    with contextlib.ExitStack() as held:
        for _ in range(watch.FILES_SLACK):
            held.enter_context((tmp_path / "held").open("w"))
        assert watch.rest(lambda: own, before) == []
        held.enter_context((tmp_path / "held").open("w"))
        (told,) = watch.rest(lambda: own, before)
    count = before["leak"]
    more = count + watch.FILES_SLACK + 1
    assert told == f"leak: {count} open files before the load, {more} after it"
    assert watch.rest(lambda: own, before) == []


def test_content_does_not_depend_on_how_it_is_asked_for() -> None:
    whole = content.data(7, 200_001)
    assert len(whole) == 200_001
    assert content.data(7, 1000) == whole[:1000]
    assert content.data(8, 1000) != whole[:1000]
    assert whole[:1000] not in whole[1000:]


def test_the_end_of_a_server_that_was_killed_is_its_own() -> None:
    """The kernel closes its connections, in good order where it had read all there was."""
    killed = Fault(SERVICE, 100.0, 110.0)
    silent = msgspec.structs.replace(record("short", 99.9, 100.1, Result.WRONG), text=NO_ECHO)
    assert violations(silent)
    assert not violations(silent, fault=killed)
    later = msgspec.structs.replace(silent, began=111.0, opened=111.0, ended=111.1)
    assert violations(later, fault=killed)


def test_what_is_begun_before_all_is_there_again_need_not_open() -> None:
    """By then it is found out that there was a fault at all."""
    silent = Fault("NAT of alice forgot all", 100.0, 100.1)
    probes = [record("probe", at, at + 0.1) for at in (90.0, 101.0, 105.0)]
    cases = (
        ("down", 103.0, True),
        ("down", 104.0, False),
        ("ssh", 113.0, True),
        ("ssh", 114.0, False),
    )
    for kind, began, excused in cases:
        refused = msgspec.structs.replace(record(kind, 0.0, began + 5.0, Result.ERROR), began=began)
        assert (judge([*probes, refused], [silent], 2.0).violations == []) is excused
