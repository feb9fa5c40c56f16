"""What `vshare doctor` examines on this host: what knows the machines that could be shared."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

from tunnel.doctor.finding import FailedError, Finding, State, Step
from tunnel.doctor.programs import libvirt_answers, output_of

_WITHOUT = "only --domain NAME and --target ADDRESS work without it"


def local_steps() -> Iterator[Step]:
    """Every step, in order. None of them is needed for every share, so none fails."""
    yield Step("Vagrant", _vagrant)
    yield Step("libvirt", _libvirt)


async def _vagrant() -> Finding:
    program = shutil.which("vagrant")
    if program is None:
        return Finding("Vagrant", State.WARNING, "not found", _WITHOUT)
    try:
        return Finding("Vagrant", State.OK, await output_of(program, "--version"))
    except (FailedError, OSError) as error:
        return Finding("Vagrant", State.WARNING, f"it does not run: {error}", _WITHOUT)


async def _libvirt() -> Finding:
    return await libvirt_answers(
        State.WARNING,
        "is libvirtd running, and are you in the group libvirt? Other machines can be shared"
        " without it",
    )
