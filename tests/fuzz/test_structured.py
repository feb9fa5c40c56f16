"""Near-valid inputs by Hypothesis, where it makes better ones than a mutator: nested values."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.runner import Runner
from tests.fuzz.targets import hello
from tests.fuzz.targets.every import EVERY
from tests.fuzz.targets.frames import MESSAGES
from tests.fuzz.targets.messages import JOINS

EXAMPLES = 40  # of each; the fuzzer has the time for more

numbers = st.integers(-(2**63), 2**64 - 1) | st.sampled_from((0, 80, 65_535, 65_536))
values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | numbers | st.floats() | st.text(max_size=300) | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=8,
)


@st.composite
def near(draw: st.DrawFn, messages: tuple[Any, ...]) -> bytes:
    """A message, a field of which may be anything, with or without more fields behind."""
    fields = list(msgspec.structs.astuple(draw(st.sampled_from(messages))))
    at = draw(st.integers(0, len(fields)))
    fields[at : at + draw(st.integers(0, 1))] = draw(st.lists(values, max_size=2))
    return msgspec.msgpack.encode(fields)


hellos = st.builds(
    lambda parts, session, records: hello.hello(*parts, session=session, records=records),
    st.lists(
        st.builds(hello.extension, st.sampled_from((0, 16, 43, 0x0A0A)), st.binary(max_size=40))
        | st.builds(hello.server_name, st.binary(max_size=70), st.sampled_from((0, 1)))
        | st.lists(st.binary(max_size=12), max_size=4).map(lambda names: hello.alpn(*names)),
        max_size=5,
    ),
    st.binary(max_size=33),
    st.integers(1, 70),
)
socks = st.builds(
    lambda methods, command, address, port: (
        bytes([5, len(methods)]) + methods + bytes([5, command, 0]) + address + port
    ),
    st.binary(max_size=255),
    st.integers(0, 255),
    st.builds(lambda kind, rest: bytes([kind]) + rest, st.integers(0, 5), st.binary(max_size=40)),
    st.binary(max_size=3),
)


def _with_mode(inputs: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    return st.builds(lambda mode, data: bytes([mode]) + data, st.integers(0, 31), inputs)


CASES = {
    "frame-message": _with_mode(near(MESSAGES)),
    "join-message": _with_mode(near(JOINS)),
    "client-hello": hellos,
    "route": _with_mode(hellos),
    "socks": socks,
}


@pytest.mark.parametrize("name", CASES)
def test_near_valid_inputs(name: str) -> None:
    runner = Runner(EVERY[name], "hypothesis", guided=False)

    @settings(max_examples=EXAMPLES, database=None, derandomize=True)
    @given(CASES[name])
    def check(data: bytes) -> None:
        failure = runner.check(data)
        assert failure is None, failure

    check()
