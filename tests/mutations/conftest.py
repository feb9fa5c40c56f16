"""Mutations are run where they are asked for (`-m mutation`): they take minutes."""

from __future__ import annotations

import pytest

from tests.mutations.every import EVERY
from tests.mutations.runner import Outcome, run


def pytest_configure(config: pytest.Config) -> None:
    """The marker, for --strict-markers."""
    config.addinivalue_line(
        "markers", "mutation: takes the defences away one by one, in a copy of the source"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave them out of every run that does not name them."""
    if "mutation" not in (config.option.markexpr or ""):
        left_out = [item for item in items if item.get_closest_marker("mutation")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.fixture(scope="session")
def outcomes() -> dict[str, Outcome]:
    """Of all mutations, by name; raises StaleError."""
    return {outcome.mutation.name: outcome for outcome in run(EVERY)}
