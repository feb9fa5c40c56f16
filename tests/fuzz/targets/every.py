"""All targets."""

from __future__ import annotations

from tests.fuzz.target import Target
from tests.fuzz.targets import (
    agent,
    browsers,
    certificates,
    exchanges,
    following,
    frames,
    hello,
    http,
    machine,
    messages,
    names,
    outward,
    people,
    screens,
    sites,
    socks,
    terminals,
    visitors,
    web,
)

_MODULES = (
    hello, http, frames, messages, certificates, names, socks, agent, machine, exchanges,
    outward, sites, visitors, web, browsers, terminals, following, screens, people,
)  # fmt: skip
EVERY: dict[str, Target] = {target.name: target for module in _MODULES for target in module.TARGETS}
