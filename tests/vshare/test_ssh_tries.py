from __future__ import annotations

import pytest

from tunnel.codes import Code
from tunnel.errors import RefusedError
from vshare.ssh_tries import MAX_FAILURES, Tries


def test_three_for_each_and_thirty_for_all() -> None:
    tries = Tries()
    assert MAX_FAILURES == 30
    for guest in range(10):
        for left in (3, 2, 1):
            assert tries.left(f"{guest}") == left
            tries.count(f"{guest}")
        with pytest.raises(RefusedError, match=r"limit|newcomers") as refused:
            tries.count(f"{guest}")
        assert refused.value.code is Code.NOT_ALLOWED
    assert tries.locked
    assert tries.left("another") == 0
    with pytest.raises(RefusedError, match="newcomers"):
        tries.require("another")


def test_a_success_takes_its_own_failure_back_and_no_other() -> None:
    tries = Tries()
    tries.count("bob")
    tries.count("bob")
    tries.succeeded("bob")
    assert (tries.left("bob"), tries.failures) == (2, 1)
    tries.succeeded("bob")
    assert (tries.left("bob"), tries.failures) == (3, 0)
    assert not tries.locked
