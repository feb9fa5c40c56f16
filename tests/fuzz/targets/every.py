"""All targets."""

from __future__ import annotations

from tests.fuzz.target import Target
from tests.fuzz.targets import (
    agent,
    asking,
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
    nodes,
    outward,
    own_domains,
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
    nodes,
    own_domains, asking,
)  # fmt: skip
EVERY: dict[str, Target] = {target.name: target for module in _MODULES for target in module.TARGETS}
