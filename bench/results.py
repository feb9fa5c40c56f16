"""Samples of a run, their medians and spread, and the file they are kept in. Pure."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field


@dataclass(frozen=True, slots=True)
class Result:
    """One figure of one system over all rounds."""

    figure: str
    system: str
    unit: str
    median: float
    min: float
    max: float
    runs: int


def summarize(figure: str, system: str, unit: str, values: Iterable[float]) -> Result:
    """Median and spread. Raises ValueError when there are no values."""
    known = sorted(values)
    if not known:
        raise ValueError(f"no values for {figure} of {system}")
    median, low, high = map(_rounded, (statistics.median(known), known[0], known[-1]))
    return Result(figure, system, unit, median, low, high, len(known))


def _rounded(value: float) -> float:
    """Four significant digits: the rest is noise."""
    return float(f"{value:.4g}")


@dataclass
class Samples:
    """What was measured so far: a list of values per figure and system."""

    values: dict[tuple[str, str], list[float]] = field(default_factory=dict)

    def add(self, figure: str, system: str, value: float) -> None:
        """One more."""
        self.values.setdefault((figure, system), []).append(value)

    def results(self, units: dict[str, str]) -> list[Result]:
        """All of them summarized; a figure that `units` does not know has none."""
        return [
            summarize(figure, system, units.get(figure, ""), values)
            for (figure, system), values in self.values.items()
        ]


def serialize(results: Iterable[Result]) -> str:
    """The file: a JSON list with one result per line."""
    lines = ",\n".join("  " + json.dumps(asdict(result)) for result in results)
    return f"[\n{lines}\n]\n" if lines else "[]\n"


def parse(text: str) -> list[Result]:
    """What `serialize` wrote. Raises ValueError."""
    try:
        return [Result(**entry) for entry in json.loads(text)]
    except TypeError as error:
        raise ValueError(f"not a list of results: {error}") from None
