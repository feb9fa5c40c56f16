"""Whether the relay can do its work: what a load balancer, an orchestrator or a person asks."""

from __future__ import annotations

import asyncio
import datetime
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from relay.operation.private_http import Page
from relay.operation.sources import Sources

WRITE_WITHIN = 3.0  # seconds for a file in the state directory: a disk that hangs is not ready
ASK_AGAIN_AFTER = 1.0  # seconds for which an answer about the disk is good, whoever asks


@dataclass(frozen=True, slots=True)
class _Written:
    at: float
    fault: str


class Health:
    """Answers for the relay whose parts are `sources`."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._written: _Written | None = None
        self._asking = asyncio.Lock()
        self._writing: asyncio.Future[None] | None = None  # of a disk that hangs, too

    async def live(self) -> Page:
        """Whoever gets this answer has heard from the relay's loop."""
        return _page({})

    async def ready(self) -> Page:
        """Whether shares and visitors should be sent here."""
        found = {"certificate": self._certificate()}
        found["connections"] = self._connections()
        found["listening"] = "it drains" if self._sources.is_leaving() else ""
        cluster = self._sources.cluster
        if cluster is not None:
            found["cluster"] = "" if cluster.is_ready else "Redis does not answer, or not yet"
        found["state"] = await self._state()
        return _page(found)

    def _certificate(self) -> str:
        current, now = self._sources.shown.current, datetime.datetime.now(datetime.UTC)
        if now < current.begins:
            return "not valid yet"
        return "expired" if now > current.ends else ""

    def _connections(self) -> str:
        admission = self._sources.admission
        is_full = admission.connections >= admission.budget.connections
        return "as many as it can take" if is_full else ""

    async def _state(self) -> str:
        """Whether the state directory takes a file."""
        folder = self._sources.state_dir
        if folder is None:
            return ""
        async with self._asking:  # one at a time, however many ask
            now = asyncio.get_running_loop().time()
            if self._written is None or now - self._written.at > ASK_AGAIN_AFTER:
                self._written = _Written(now, await self._write(folder))
            return self._written.fault

    async def _write(self, folder: Path) -> str:
        if self._writing is None:
            loop = asyncio.get_running_loop()
            self._writing = loop.run_in_executor(None, write_and_remove, folder)
        done, _ = await asyncio.wait({self._writing}, timeout=WRITE_WITHIN)
        if not done:  # its thread is not left to itself for another
            return f"takes longer than {WRITE_WITHIN:g} s"
        error, self._writing = self._writing.exception(), None
        if isinstance(error, OSError):
            return error.strerror or "cannot be written"
        return "" if error is None else type(error).__name__


def write_and_remove(folder: Path) -> None:
    """Raises OSError where no file can be written."""
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(b"\n")
        file.flush()
        os.fsync(file.fileno())


def _page(found: Mapping[str, str]) -> Page:
    """`found`: what is wrong with each part; empty: nothing."""
    is_well = not any(found.values())
    answer: dict[str, object] = {"status": "ok" if is_well else "not ready"}
    if found:
        answer["checks"] = {name: fault or "ok" for name, fault in found.items()}
    body = json.dumps(answer).encode() + b"\n"
    status = HTTPStatus.OK if is_well else HTTPStatus.SERVICE_UNAVAILABLE
    return Page(status, "application/json", body)
