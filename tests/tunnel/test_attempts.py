from __future__ import annotations

import pytest

from tunnel import attempts as module
from tunnel.attempts import (
    BUCKET,
    LATELY,
    REFILL_SECONDS,
    RESERVED,
    SLOW_AFTER,
    SLOW_REFILL_SECONDS,
    SOURCE_BUCKET,
    SOURCE_REFILL_SECONDS,
    Attempts,
)
from tunnel.codes import Code
from tunnel.errors import RefusedError
from tunnel.source import source_of

STRANGER, NEWCOMER = "192.0.2.1", "198.51.100.7"


def take(attempts: Attempts, source: str, now: float) -> bool:
    try:
        attempts.take(source, now)
    except RefusedError as error:
        return error.code is not Code.BUSY
    return True


def guess(attempts: Attempts, source: str, now: float) -> bool:
    """A guesser's attempt: it is never taken back."""
    taken = take(attempts, source, now)
    if taken:
        attempts.failed(source, now)
    return taken


def test_a_source_has_a_bucket_of_its_own() -> None:
    attempts = Attempts(100.0)
    taken = [guess(attempts, STRANGER, 100.0) for _ in range(SOURCE_BUCKET + 2)]
    assert taken == [True] * SOURCE_BUCKET + [False] * 2
    later = 100.0 + SOURCE_REFILL_SECONDS
    assert not guess(attempts, STRANGER, later - 0.1)
    assert guess(attempts, STRANGER, later + 0.1)
    assert not guess(attempts, STRANGER, later + 0.2)


def test_asking_too_often_does_not_hold_back_the_refill() -> None:
    attempts = Attempts(0.0)
    for _ in range(SOURCE_BUCKET):
        guess(attempts, STRANGER, 0.0)
    ticks = int(SOURCE_REFILL_SECONDS * 10) * 3 + 1
    assert 2 <= sum(guess(attempts, STRANGER, tick / 10) for tick in range(ticks)) <= 3


def test_the_buckets_do_not_overflow() -> None:
    attempts = Attempts(0.0)
    assert sum(guess(attempts, STRANGER, 1e6) for _ in range(BUCKET * 3)) == SOURCE_BUCKET
    others = (f"192.0.2.{number}" for number in range(2, 200))
    assert sum(guess(attempts, each, 1e6) for each in others) == BUCKET - SOURCE_BUCKET


def test_a_strangers_failures_do_not_keep_a_newcomer_out() -> None:
    """Whatever one source does for hours, somebody from elsewhere can join at any time."""
    attempts = Attempts(0.0)
    for second in range(4 * 3600):
        guess(attempts, STRANGER, float(second))
        if second % 600 == 0:
            source = f"198.51.100.{second // 600}"
            assert take(attempts, source, float(second))
            attempts.failed(source, float(second))
            attempts.succeeded(source, float(second))


def test_many_strangers_who_failed_leave_the_reserve_alone() -> None:
    attempts = Attempts(0.0)
    strangers = [f"192.0.2.{number}" for number in range(200)]
    for source in strangers:  # each was here before
        guess(attempts, source, 0.0)
    now = BUCKET * REFILL_SECONDS + 1
    known = [source for source in strangers if source in attempts._sources]
    assert sum(guess(attempts, source, now) for source in known * 3) == BUCKET - RESERVED
    assert take(attempts, NEWCOMER, now)


def test_a_site_with_many_networks_is_one_stranger() -> None:
    """Somebody with a /48 has 65,536 sources, and the reserve is not for the second of them."""
    attempts = Attempts(0.0)
    networks = (source_of(f"2001:db8:1:{number:x}::1") for number in range(100))
    # one takes from the full bucket; all the others from what is above the reserve
    assert sum(guess(attempts, source, 0.0) for source in networks) == BUCKET - RESERVED
    assert take(attempts, source_of("2001:db8:2::1"), 0.0)


def test_failures_are_forgiven_after_a_while() -> None:
    attempts = Attempts(0.0)
    guess(attempts, STRANGER, 0.0)
    for number in range(BUCKET):
        guess(attempts, f"198.51.100.{number}", LATELY - 1)
    reserve_only = LATELY - 1 + 2 * REFILL_SECONDS
    assert not take(attempts, STRANGER, LATELY - 0.5)
    assert take(attempts, STRANGER, reserve_only)


def test_an_attempt_that_breaks_off_early_counts_against_its_source() -> None:
    """Else garbage in place of message 1 would use up the reserve."""
    attempts = Attempts(0.0)
    assert take(attempts, STRANGER, 0.0)  # and no `failed` follows
    assert attempts.failures == 0
    assert not attempts._is_newcomer(STRANGER, 0.0)


def test_success_is_free() -> None:
    attempts = Attempts(0.0)
    for _ in range(BUCKET * 5):
        attempts.take(NEWCOMER, 0.0)
        attempts.failed(NEWCOMER, 0.0)
        attempts.succeeded(NEWCOMER, 0.0)
    assert attempts.failures == 0
    assert attempts._is_newcomer(NEWCOMER, 0.0)
    assert sum(guess(attempts, NEWCOMER, 0.0) for _ in range(BUCKET * 2)) == SOURCE_BUCKET


def test_success_does_not_pardon_other_failures() -> None:
    attempts = Attempts(0.0)
    guess(attempts, STRANGER, 0.0)
    attempts.take(STRANGER, 0.0)
    attempts.failed(STRANGER, 0.0)
    attempts.succeeded(STRANGER, 0.0)
    assert attempts.failures == 1
    assert not attempts._is_newcomer(STRANGER, 0.0)


def guesses(attempts: Attempts, since: float, seconds: float) -> int:
    """How many guesses somebody with any number of sources has in that time."""
    made = 0
    for second in range(int(seconds)):
        while guess(attempts, f"source {since} {second} {made}", since + second):
            made += 1
    return made


def test_after_a_thousand_failures_it_is_slow_until_the_code_is_rotated() -> None:
    attempts = Attempts(0.0)
    assert guesses(attempts, 0.0, 60) == BUCKET + 9  # as docs/security.md has it
    quick = guesses(attempts, 60.0, SLOW_AFTER * REFILL_SECONDS)
    assert attempts.is_slowed
    assert SLOW_AFTER <= attempts.failures <= SLOW_AFTER + BUCKET
    assert quick < SLOW_AFTER + 2
    now = 60.0 + SLOW_AFTER * REFILL_SECONDS
    assert guesses(attempts, now, 3600) == pytest.approx(3600 / SLOW_REFILL_SECONDS, abs=2)
    attempts.rotated()
    hour = guesses(attempts, now + 3600, 3600)
    assert hour == pytest.approx(3600 / REFILL_SECONDS, abs=2)


def test_loopback_is_a_proxy_and_has_no_bucket_of_its_own() -> None:
    attempts = Attempts(0.0)
    taken = sum(guess(attempts, "127.0.0.1", 0.0) for _ in range(BUCKET * 2))
    assert taken == BUCKET - RESERVED
    assert guess(attempts, "127.0.0.1", REFILL_SECONDS + 0.1)


def test_the_table_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_SOURCES", 5)
    attempts = Attempts(0.0)
    for number in range(50):
        now = number * REFILL_SECONDS
        guess(attempts, f"198.51.100.{number}", now)
        guess(attempts, STRANGER, now)  # in use: it stays
    assert len(attempts._sources) == 5
    assert STRANGER in attempts._sources


def test_the_table_holds_whoever_failed_lately() -> None:
    attempts = Attempts(0.0)
    for second in range(int(LATELY)):
        guess(attempts, source_of(f"2001:db8:{second:x}::1"), float(second))
    assert len(attempts._sources) < module.MAX_SOURCES
