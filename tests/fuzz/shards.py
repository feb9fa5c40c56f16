"""One process's work; a module of its own, because a spawned process imports it by name."""

from __future__ import annotations

import logging

from tests.fuzz.runner import Result, Runner
from tests.fuzz.targets.every import EVERY


def shard(name: str, seed: str, inputs: int | None, seconds: float | None) -> Result:
    """Run a target with a seed."""
    logging.disable()  # hostile input is what there is to log
    return Runner(EVERY[name], seed).run(inputs, seconds)
