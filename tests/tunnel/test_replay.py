from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunnel import replay
from tunnel.errors import LocalProtocolError
from tunnel.replay import SLOT, Replay

PATTERN = bytes(range(251))


def content(kept: Replay, offset: int) -> bytes:
    data = b""
    while offset + len(data) < kept.end:
        data += kept.piece(offset + len(data))
    return data


@given(st.lists(st.tuples(st.integers(0, 3 * SLOT), st.floats(0, 1)), max_size=12))
def test_what_is_kept_is_what_was_sent_and_not_released(steps: list[tuple[int, float]]) -> None:
    kept, sent = Replay(), b""
    for size, share in steps:
        start = len(sent) % 251
        data = (PATTERN * (size // 251 + 2))[start : start + size]
        sent += data
        kept.append(memoryview(data))
        kept.release(kept.start + int(kept.held * share))
        assert kept.held == len(sent) - kept.start
        assert content(kept, kept.start) == sent[kept.start :]
        assert len(kept._slots) <= kept.held // SLOT + 2
    kept.clear()
    assert not kept._slots
    assert not kept.held


def test_the_callers_buffer_may_be_used_again() -> None:
    kept, buffer = Replay(), bytearray(b"first")
    kept.append(buffer)
    buffer[:] = b"other"
    assert bytes(kept.piece(0)) == b"first"


def test_slots_come_from_the_free_list() -> None:
    kept = Replay()
    kept.append(bytes(10 * SLOT))
    kept.clear()
    free = len(replay._free)
    assert free >= 10
    kept.append(bytes(10 * SLOT))
    assert len(replay._free) == free - 10
    kept.append(bytes((replay.MAX_FREE + 20) * SLOT))
    kept.clear()
    assert len(replay._free) == replay.MAX_FREE


@pytest.mark.parametrize("offset", [0, 11])
def test_offsets_outside(offset: int) -> None:
    kept = Replay()
    kept.append(bytes(10))
    kept.release(5)
    with pytest.raises(LocalProtocolError):
        kept.release(offset)
    with pytest.raises(LocalProtocolError):
        kept.piece(offset)
