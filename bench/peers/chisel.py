"""chisel: reverse tunnels over WebSocket, used when it is on PATH (written for version 1.9).

Each hop is encrypted, and the relay reads everything.
"""

from __future__ import annotations

from bench.processes import Process
from bench.system import Kind, System, free_port
from bench.way import Way


class ChiselPublic(System):
    """`chisel client R:PORT:target`: the connect side uses the relay's port as it is."""

    name = "chisel R: public"
    kind = Kind.PUBLIC
    needs = ("chisel",)

    def set_up(self) -> None:
        """The server, the sharer's client."""
        self._relay, public, datagrams = free_port(), free_port(), free_port()
        options = ["--host", "127.0.0.1", "--port", str(self._relay), "--reverse"]
        self.run(self.relay, ["chisel", "server", *options])
        self.wait_for_port(self._relay)
        self._client(
            self.share,
            f"R:127.0.0.1:{public}:127.0.0.1:{self.tcp_port}",
            f"R:127.0.0.1:{datagrams}:127.0.0.1:{self.udp_port}/udp",
        )
        self.wait_for_port(public)
        self.way, self.udp = Way(public), Way(datagrams)

    def _client(self, role: list[Process], *tunnels: str) -> None:
        self.run(role, ["chisel", "client", f"http://127.0.0.1:{self._relay}", *tunnels])


class ChiselBoth(ChiselPublic):
    """Both sides are clients."""

    name = "chisel both"
    kind = Kind.PER_HOP

    def set_up(self) -> None:
        """The guest's client besides."""
        super().set_up()
        assert self.udp is not None
        local, datagrams = free_port(), free_port()
        self._client(
            self.connect,
            f"127.0.0.1:{local}:127.0.0.1:{self.way.port}",
            f"127.0.0.1:{datagrams}:127.0.0.1:{self.udp.port}/udp",
        )
        self.wait_for_port(local)
        self.way, self.udp = Way(local), Way(datagrams)
