"""All targets."""

from __future__ import annotations

from tests.fuzz.target import Target
from tests.fuzz.targets import (
    agent,
    certificates,
    exchanges,
    frames,
    hello,
    http,
    machine,
    messages,
    names,
    outward,
    socks,
    visitors,
    web,
)

_MODULES = (
    hello, http, frames, messages, certificates, names, socks, agent, machine, exchanges,
    outward, visitors, web,
)  # fmt: skip
EVERY: dict[str, Target] = {target.name: target for module in _MODULES for target in module.TARGETS}
