"""`vshare up web db`: several machines, each a share of its own, by one command.

They begin one after another, since each may ask questions, and are told of when all are up. From
then on each has its own life: the command ends with the last.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import replace

from tunnel.console import Console, Interrupt
from tunnel.errors import UsageError, VshareError
from vshare.detach import Leaving
from vshare.group import MAX_MACHINES, Group
from vshare.options import Options
from vshare.share import relay_for, share_up

_NOT_IN_NAMES = re.compile(r"[^a-z0-9-]+|-{2,}")


def each_machine(
    options: Options,
    machines: Sequence[str],
    domains: Sequence[str],
    targets: Sequence[str],
) -> list[Options]:
    """`options` for each that is named; for whatever runs here, if none is. Raises UsageError."""
    if sum(map(bool, (machines, domains, targets))) > 1:
        raise UsageError(
            "more than one kind of machine is named",
            "give one of: the Vagrant machines' names, --domain NAME, --target ADDRESS",
        )
    found = [replace(options, machine=name) for name in machines]
    found += [replace(options, domain=name) for name in domains]
    found += [replace(options, target=address) for address in targets]
    return found or [options]


async def share_all(
    machines: Sequence[Options], console: Console, interrupt: Interrupt, leaving: Leaving | None
) -> None:
    """Share each of `machines`, which differ in what they name. Raises VshareError."""
    if len(machines) == 1:
        await share_up(machines[0], console, interrupt, leaving)
        return
    _check(machines)
    group = Group(len(machines))
    async with relay_for(machines[0], console) as relay:
        member = _Member(group, interrupt, leaving)
        async with asyncio.TaskGroup() as tasks:
            for options in machines:
                own = replace(options, relay=str(relay), name=_own_name(options))
                beside = console.beside(_called(options))
                tasks.create_task(member.share(own, beside), name=_called(options))
    if member.error is not None:
        raise member.error


def _check(machines: Sequence[Options]) -> None:
    """Raise UsageError for what cannot be meant for several."""
    called = [_called(options) for options in machines]
    if len(set(called)) < len(called):
        raise UsageError(f"a machine is named twice: {', '.join(called)}", "name each once")
    if len(machines) > MAX_MACHINES:
        raise UsageError(
            f"more than {MAX_MACHINES} machines", "share the others by another command"
        )
    if machines[0].lan:
        raise UsageError("--lan is for one machine", "start `vrelay serve`, and use --relay")
    if machines[0].own_domains:
        raise UsageError("--own-domain is for one machine", "share it by a command of its own")
    for options in machines:
        options.check()


def _called(options: Options) -> str:
    return options.machine or options.domain or options.target or ""


def _own_name(options: Options) -> str | None:
    """`--name shop` is `shop-web` and `shop-db`."""
    if options.name is None:
        return None
    called = _NOT_IN_NAMES.sub("-", _called(options).lower()).strip("-")
    return f"{options.name}-{called}"


class _Member:
    """Shares one machine of a group; `error` is what the first that ended badly ended with."""

    def __init__(self, group: Group, interrupt: Interrupt, leaving: Leaving | None) -> None:
        self.error: VshareError | None = None
        self._group = group
        self._interrupt = interrupt
        self._leaving = leaving

    async def share(self, options: Options, console: Console) -> None:
        """Raises VshareError only as long as it is not up: then nothing is shared."""
        await self._group.turn()
        try:
            await share_up(options, console, self._interrupt, self._leaving, self._group)
        except* VshareError as errors:
            if not self._group.is_complete:
                raise
            first = _first(errors)
            console.error(first)
            self.error = self.error or first


def _first(errors: BaseExceptionGroup[VshareError]) -> VshareError:
    inner: BaseException = errors
    while isinstance(inner, BaseExceptionGroup):
        inner = inner.exceptions[0]
    assert isinstance(inner, VshareError)  # what was caught are these alone
    return inner
