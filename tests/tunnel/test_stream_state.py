from __future__ import annotations

import functools
import itertools
from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunnel.errors import LocalProtocolError, RemoteProtocolError
from tunnel.stream_state import ANSWERED, MAX_STREAM, TRANSITIONS, Input, State, StreamState

SENDS = [step for step in Input if step.name.startswith("SEND")]
RECEIVED = {
    Input.SEND_OPEN: Input.RECEIVE_OPEN,
    Input.SEND_DATA: Input.RECEIVE_DATA,
    Input.SEND_EOF: Input.RECEIVE_EOF,
    Input.SEND_RESET: Input.RECEIVE_RESET,
}


def in_state(state: State, number: int = 5) -> StreamState:
    stream = StreamState()
    stream.number, stream.state = number, state
    return stream


@pytest.mark.parametrize(("state", "step"), list(itertools.product(State, SENDS)))
def test_every_send_in_every_state(state: State, step: Input) -> None:
    stream = in_state(state)
    expected = TRANSITIONS.get((state, step))
    assert stream.allows(step) == (expected is not None)
    if expected is None:
        with pytest.raises(LocalProtocolError):
            stream.send(step)
        assert (stream.state, stream.number) == (state, 5)
    else:
        stream.send(step)
        assert (stream.state, stream.number) == (expected, 6 if step is Input.SEND_OPEN else 5)


@pytest.mark.parametrize(("state", "step"), list(itertools.product(State, RECEIVED.values())))
def test_every_receipt_in_every_state(state: State, step: Input) -> None:
    stream = in_state(state)
    number = 6 if step is Input.RECEIVE_OPEN else 5
    expected = TRANSITIONS.get((state, step))
    if step is Input.RECEIVE_RESET and state is State.IDLE:
        assert stream.receive(step, number) is False  # late, see the module
    elif expected is None:
        with pytest.raises(RemoteProtocolError):
            stream.receive(step, number)
        assert (stream.state, stream.number) == (state, 5)
    else:
        thrown_away = state is State.RESETTING and step is Input.RECEIVE_DATA
        assert stream.receive(step, number) is not thrown_away
        assert (stream.state, stream.number) == (expected, number)


@pytest.mark.parametrize(("state", "step"), list(itertools.product(State, RECEIVED.values())))
@pytest.mark.parametrize("number", [0, 4, 7, MAX_STREAM])
def test_another_streams_number(state: State, step: Input, number: int) -> None:
    stream = in_state(state)
    if step is Input.RECEIVE_RESET and number == 4:
        assert stream.receive(step, number) is False
    else:
        with pytest.raises(RemoteProtocolError):
            stream.receive(step, number)
    assert (stream.state, stream.number) == (state, 5)


def test_numbers_end() -> None:
    stream = in_state(State.IDLE, MAX_STREAM)
    with pytest.raises(LocalProtocolError, match="used up"):
        stream.send(Input.SEND_OPEN)


class Side:
    """One side as connection.py plays it: RESET is answered where the table says so."""

    def __init__(self) -> None:
        self.stream = StreamState()
        self.out: deque[tuple[Input, int]] = deque()
        self.peer: Side

    def send(self, step: Input) -> None:
        self.stream.send(step)
        self.out.append((RECEIVED[step], self.stream.number))

    def receive(self) -> None:
        step, number = self.peer.out.popleft()
        answer = self.stream.state in ANSWERED
        counts = self.stream.receive(step, number)
        if counts and step is Input.RECEIVE_RESET and answer:
            self.out.append((step, number))


# Which side acts (0: the client), and which of the things that it may do then it does.
MOVES = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 59)), max_size=100)


@given(MOVES)
def test_two_sides_always_agree_in_the_end(moves: list[tuple[int, int]]) -> None:
    client, share = Side(), Side()
    client.peer, share.peer = share, client
    for which, choice in moves:
        side = (client, share)[which]
        steps = [step for step in SENDS if side.stream.allows(step)]
        if side is share and Input.SEND_OPEN in steps:
            steps.remove(Input.SEND_OPEN)
        actions = [functools.partial(side.send, step) for step in steps]
        if side.peer.out:
            actions.append(functools.partial(side.receive))
        if actions:
            actions[choice % len(actions)]()
    while client.out or share.out or not (client.stream.is_idle and share.stream.is_idle):
        for side in (client, share):
            while side.peer.out:
                side.receive()
            if side.stream.allows(Input.SEND_EOF):
                side.send(Input.SEND_EOF)
    assert client.stream.number == share.stream.number
