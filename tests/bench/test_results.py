"""Medians, spread, and the form of the results file."""

from __future__ import annotations

import json

import pytest

from bench.results import Result, Samples, parse, serialize, summarize


def test_median_and_spread() -> None:
    result = summarize("stream_up", "vshare", "MB/s", [3.0, 1.0, 200.0])
    assert result == Result("stream_up", "vshare", "MB/s", 3.0, 1.0, 200.0, 3)


def test_an_even_count_has_the_mean_of_the_middle() -> None:
    assert summarize("f", "s", "", [4.0, 1.0, 2.0, 100.0]).median == 3.0


def test_digits_that_are_noise_are_not_kept() -> None:
    result = summarize("f", "s", "", [123456.7, 0.0012345678])
    assert (result.min, result.max) == (0.001235, 123500)


def test_no_values_are_no_result() -> None:
    with pytest.raises(ValueError, match="stream_up of vshare"):
        summarize("stream_up", "vshare", "MB/s", [])


def test_the_file_is_a_list_of_objects() -> None:
    samples = Samples()
    for value in (1.0, 2.0, 3.0):
        samples.add("stream_up", "vshare", value)
    samples.add("stream_up", "loopback", 9.0)
    text = serialize(samples.results({"stream_up": "MB/s"}))
    assert json.loads(text) == [
        {
            "figure": "stream_up", "system": "vshare", "unit": "MB/s",
            "median": 2.0, "min": 1.0, "max": 3.0, "runs": 3,
        },
        {
            "figure": "stream_up", "system": "loopback", "unit": "MB/s",
            "median": 9.0, "min": 9.0, "max": 9.0, "runs": 1,
        },
    ]  # fmt: skip
    assert parse(text) == samples.results({"stream_up": "MB/s"})
    assert parse(serialize([])) == []


@pytest.mark.parametrize("text", ['[{"figure": "x"}]', "[", '[{"surplus": 1}]'])
def test_what_is_no_list_of_results(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        parse(text)
