"""The shared machines that one `vconnect` has: mostly one, several where `vshare up web db` shares
them together. Local programs mean one of them by its name, or by its static IP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from connect_vm.agent import wire
from connect_vm.notices import Notices
from connect_vm.own_names import OwnNames
from connect_vm.ways import GuestClient
from tunnel.console import Console
from tunnel.ends import End
from tunnel.flows import Flow, FlowReceiver
from tunnel.names import ShareName


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine and the way to it. `console` is for what concerns it alone."""

    share: ShareName
    name: str
    client: GuestClient
    names: OwnNames
    notices: Notices
    console: Console


class Machines:
    """An Opener (connect_vm/opener.py) that asks the share of the machine that `host` is. What is
    none of them is the first share's affair: it may have more than its machine to give."""

    def __init__(self, machines: Sequence[Machine]) -> None:
        self._machines = machines

    async def open(self, host: str, port: int) -> End:
        """See Opener."""
        client, host = self._resolve(host)
        return await client.open(host, port)

    async def open_flow(self, host: str, port: int, receiver: FlowReceiver) -> Flow:
        """See Opener."""
        client, host = self._resolve(host)
        return await client.open_flow(host, port, receiver)

    def _resolve(self, host: str) -> tuple[GuestClient, str]:
        for machine in self._machines:
            if host in machine.names:
                return machine.client, ""
        return self._machines[0].client, host


def host_of(header: wire.Header) -> str:
    """What the agent's clients mean: the static IP that they have come to."""
    return header.destination[0]
