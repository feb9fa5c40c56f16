"""What the operator's programs ask a relay, on an address of its own: metrics and health."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

from relay.operation.health import Health
from relay.operation.private_http import PrivateHttp
from relay.operation.sources import Sources

LAG_EVERY = 1.0  # seconds between looks at how late the loop is


class Panel:
    """Answers on `listener`, which the caller closes; without one there is nothing to do."""

    def __init__(self, listener: socket.socket | None) -> None:
        self._listener = listener
        self.port: int = listener.getsockname()[1] if listener else 0

    async def run(self, sources: Sources) -> None:
        """Until cancelled."""
        if self._listener is None:
            return
        from relay.operation.metrics import Metrics  # prometheus_client is for those who ask

        metrics = Metrics(sources)
        health = Health(sources)
        pages = {"/metrics": metrics.page, "/healthz": health.live, "/readyz": health.ready}
        async with asyncio.TaskGroup() as group:
            group.create_task(PrivateHttp(self._listener, pages).run(), name="private http")
            group.create_task(watch_lag(metrics.lag.observe), name="lag")


async def watch_lag(observe: Callable[[float], None]) -> None:
    """Until cancelled: tell how many seconds late the loop's timers are."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + LAG_EVERY
        await asyncio.sleep(LAG_EVERY)
        observe(max(0.0, loop.time() - due))
