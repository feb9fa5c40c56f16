"""What one guest types, at the pace at which a terminal takes it."""

from __future__ import annotations

import pytest

from vshare.terminals.input_bucket import BURST, MAX_WAITING, PER_SECOND, STEP, InputBucket


def drain(bucket: InputBucket, now: float) -> bytes:
    taken = b""
    while part := bucket.take(now):
        assert len(part) <= STEP
        taken += part
    return taken


def test_keys_pass_at_once_and_in_order() -> None:
    bucket = InputBucket(0.0)
    for key in b"ls -l\r":
        bucket.receive_data(bytes([key]))
        assert bucket.take(0.0) == bytes([key])
    assert bucket.wait() is None


def test_a_flood_passes_as_fast_as_it_may_and_the_rest_is_thrown_away() -> None:
    bucket = InputBucket(0.0)
    for _ in range(100):
        bucket.receive_data(b"x" * 4096)
    assert bucket.thrown_away == 100 * 4096 - MAX_WAITING
    assert len(drain(bucket, 0.0)) == BURST
    wait = bucket.wait()
    assert wait == pytest.approx(STEP / PER_SECOND)
    assert len(drain(bucket, 1.0)) == PER_SECOND
    bucket.clear()
    assert drain(bucket, 100.0) == b""


def test_who_waits_comes_when_there_is_something_to_take() -> None:
    bucket = InputBucket(0.0)
    bucket.receive_data(b"x" * MAX_WAITING)
    now, taken = 0.0, 0
    for _ in range(1000):
        taken += len(drain(bucket, now))
        wait = bucket.wait()
        if wait is None:
            break
        now += wait + 1e-6
    assert taken == MAX_WAITING
    assert now == pytest.approx((MAX_WAITING - BURST) / PER_SECOND, rel=0.05)
