"""How a relay that runs is left: nothing new comes in, shares are sent elsewhere, and what is under
way goes on for a while.

The shares' channels are closed with SERVICE_RESTART, at which each connects again to the relay's
address: where that is another process now, or another relay, it is back there at once. Here its
published sites and the connections to it are kept, so that visitors who are here are still served.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from relay.asgi import AsgiServer
from relay.front import Front
from relay.gateway import Gateway

# Shares sent away at a time, and the pause after them: each makes five TLS connections to whoever
# takes them, which one core does in some 5 ms.
AWAY_AT_ONCE = 20
AWAY_EVERY = 0.1  # seconds


class Drain:
    """Of one relay. `ends` are the tasks that a relay which is left has no use for."""

    def __init__(
        self,
        fronts: Sequence[Front],
        asgi: AsgiServer,
        gateway: Gateway,
        ends: Sequence[asyncio.Task[None]],
    ) -> None:
        self._fronts, self._asgi, self._gateway = fronts, asgi, gateway
        self._ends = ends
        self.has_begun = False

    def close_doors(self) -> None:
        """Accept no more connections: who comes waits in the kernel for the process that has the
        same listening sockets, or is refused once they are closed."""
        self._refuse()
        for task in self._ends:
            task.cancel()

    def _refuse(self) -> None:
        self.has_begun = True
        for front in self._fronts:
            front.close_door()

    @property
    def visitors(self) -> int:
        """Connections under way."""
        return sum(front.visitors for front in self._fronts)

    async def run(self, *, succeeded: bool) -> None:
        """Let everybody leave; return when nobody is left. `succeeded`: another process goes on in
        this one's place, so that visitors who ask for nothing now are waited for, too."""
        if succeeded:
            self.close_doors()
        else:  # the operator's programs are told of it
            self._refuse()
        self._gateway.retire(at_once=not succeeded)
        while True:
            if not self._asgi.send_away(AWAY_AT_ONCE):
                break
            await asyncio.sleep(AWAY_EVERY)
        for front in self._fronts:
            await front.deserted.wait()
