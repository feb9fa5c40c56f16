import pytest

from relay import join_limits, source_buckets
from relay.join_limits import JOIN_BURST, JOIN_REFILL_SECONDS, MAX_WAIT, SPACING, JoinLimits
from relay.source_buckets import SourceBuckets
from tunnel.names import ShareName

NAME, OTHER = ShareName("one-name"), ShareName("other-name")
SOURCE = "192.0.2.1"


def test_a_bucket_for_each_source() -> None:
    buckets = SourceBuckets(3, 2.0)
    assert [buckets.take(SOURCE, 10.0) for _ in range(4)] == [True, True, True, False]
    assert not buckets.has(SOURCE, 10.0)
    assert buckets.take("192.0.2.2", 10.0)
    assert not buckets.take(SOURCE, 11.9)
    assert buckets.has(SOURCE, 12.0)
    assert [buckets.take(SOURCE, 12.0) for _ in range(2)] == [True, False]
    assert [buckets.take(SOURCE, 1e6) for _ in range(4)] == [True, True, True, False]


def test_loopback_is_a_proxy() -> None:
    buckets = SourceBuckets(1, 2.0)
    for source in ("127.0.0.1", "::/64"):
        assert all(buckets.take(source, 0.0) for _ in range(5))
        assert buckets.has(source, 0.0)


def test_the_table_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_buckets, "MAX_SOURCES", 3)
    buckets = SourceBuckets(1, 1e9)
    for number in range(10):
        buckets.take(f"198.51.100.{number}", 0.0)
        buckets.take(SOURCE, 0.0)  # in use: it stays
    assert len(buckets._sources) == 3
    assert not buckets.has(SOURCE, 0.0)


def test_one_source_has_so_many_joins_at_all_names_together() -> None:
    limits = JoinLimits(1_000)
    names = [ShareName(f"name-{number}") for number in range(JOIN_BURST + 1)]
    assert all(limits.enter(name, SOURCE, 0.0) == 0 for name in names[:-1])
    assert limits.enter(names[-1], SOURCE, 0.0) is None
    assert limits.enter(names[-1], "192.0.2.2", 0.0) == 0
    assert limits.enter(names[-1], SOURCE, JOIN_REFILL_SECONDS) is not None


def test_joins_at_one_name_begin_one_after_another() -> None:
    limits = JoinLimits(1_000)
    waits = [limits.enter(NAME, f"192.0.2.{number}", 0.0) for number in range(3)]
    assert waits == pytest.approx([0, SPACING, 2 * SPACING])
    assert limits.enter(OTHER, SOURCE, 0.0) == 0
    assert limits.enter(NAME, SOURCE, 10.0) == 0


def test_a_crowd_at_one_name_is_refused_and_not_kept_waiting() -> None:
    limits = JoinLimits(1_000)
    let_in = sum(limits.enter(NAME, f"192.0.2.{number}", 0.0) is not None for number in range(200))
    assert let_in == pytest.approx(MAX_WAIT / SPACING + 1, abs=1)


def test_so_many_at_once() -> None:
    limits = JoinLimits(2)
    assert limits.enter(NAME, SOURCE, 0.0) is not None
    assert limits.enter(OTHER, SOURCE, 0.0) is not None
    assert limits.enter(OTHER, "192.0.2.2", 9.0) is None
    limits.leave()
    assert limits.enter(OTHER, "192.0.2.2", 9.0) is not None


def test_names_are_forgotten_when_their_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(join_limits, "MAX_PACED", 3)
    limits = JoinLimits(1_000)
    for number in range(3):
        assert limits.enter(ShareName(f"name-{number}"), f"192.0.2.{number}", 0.0) == 0
    assert limits.enter(NAME, SOURCE, 0.0) is None
    assert limits.enter(ShareName("name-0"), SOURCE, 0.0) is not None
    assert limits.enter(NAME, SOURCE, 3 * SPACING) == 0
    assert len(limits._next) == 1


def test_one_site_with_many_sources_has_the_joins_of_one() -> None:
    limits = JoinLimits(1_000)
    neighbours = [f"2001:db8:0:{number:x}::/64" for number in range(JOIN_BURST * 3)]
    names = [ShareName(f"name-{number}") for number in range(JOIN_BURST * 3)]
    let_in = [limits.enter(*pair, 0.0) for pair in zip(names, neighbours, strict=True)]
    assert sum(each is not None for each in let_in) == JOIN_BURST
    assert limits.enter(NAME, "2001:db8:1::/64", 0.0) == 0


def test_who_goes_on_and_on_leaves_room_in_the_line() -> None:
    limits = JoinLimits(1_000)
    strangers = [f"198.51.100.{number}" for number in range(12)]
    refused = 0
    for tick in range(400):  # 40 seconds of twelve sources that try as fast as they may
        now = tick / 10
        for source in strangers:
            refused += limits.enter(NAME, source, now) is None
        if tick % 10 == 0:
            assert limits.enter(NAME, f"203.0.113.{tick // 10}", now) is not None
    assert refused > 1_000


def test_the_table_of_who_was_here_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(join_limits, "MAX_LATELY", 5)
    limits = JoinLimits(1_000)
    for number in range(20):
        limits.enter(NAME, f"192.0.2.{number}", float(number))
    assert len(limits._lately) == 5
