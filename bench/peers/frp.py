"""frp: used when `frps` and `frpc` are on PATH (written for 0.52 and later, which read TOML).

TLS on each hop; the relay reads everything.
"""

from __future__ import annotations

from bench.processes import Process
from bench.system import Kind, System, free_port
from bench.way import Way

SERVER = """\
bindAddr = "127.0.0.1"
proxyBindAddr = "127.0.0.1"
bindPort = {relay}
"""
CLIENT = """\
serverAddr = "127.0.0.1"
serverPort = {relay}
"""
PROXY = """
[[proxies]]
name = "{kind}"
type = "{kind}"
localIP = "127.0.0.1"
localPort = {port}
"""
PUBLIC_PORT = "remotePort = {port}\n"
SECRET = 'secretKey = "bench"\n'
VISITOR = """
[[visitors]]
name = "visitor"
type = "stcp"
serverName = "stcp"
secretKey = "bench"
bindAddr = "127.0.0.1"
bindPort = {port}
"""


class FrpPublic(System):
    """A tcp and a udp proxy: the connect side uses the relay's ports as they are."""

    name = "frp tcp public"
    kind = Kind.PUBLIC
    needs = ("frps", "frpc")

    def set_up(self) -> None:
        """The server, the sharer's client."""
        self._relay = free_port()
        self._frp("frps", self.relay, SERVER)
        self.wait_for_port(self._relay)
        public, datagrams = free_port(), free_port()
        proxies = PROXY.format(kind="tcp", port=self.tcp_port) + PUBLIC_PORT.format(port=public)
        proxies += PROXY.format(kind="udp", port=self.udp_port)
        proxies += PUBLIC_PORT.format(port=datagrams)
        proxies += PROXY.format(kind="stcp", port=self.tcp_port) + SECRET
        self._frp("frpc", self.share, CLIENT + proxies)
        self.wait_for_port(public)
        self.way, self.udp = Way(public), Way(datagrams)

    def _frp(self, program: str, role: list[Process], text: str) -> None:
        file = self.folder / f"{len(self.processes)}.toml"
        file.write_text(text.replace("{relay}", str(self._relay)))
        self.run(role, [program, "-c", str(file)])


class FrpStcp(FrpPublic):
    """A secret TCP proxy: the guest has a client, too."""

    name = "frp stcp"
    kind = Kind.PER_HOP

    def set_up(self) -> None:
        """The guest's client besides."""
        super().set_up()
        local = free_port()
        self._frp("frpc", self.connect, CLIENT + VISITOR.format(port=local))
        self.wait_for_port(local)
        self.way, self.udp = Way(local), None
