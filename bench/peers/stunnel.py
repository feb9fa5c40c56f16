"""stunnel, haproxy, stunnel: the relay's haproxy forwards TLS that it cannot read.

The relay dials the share, so that the share has to be reachable: without NAT only. The guest's
stunnel checks the share's certificate; the share takes every guest, which is cheaper for it.
"""

from __future__ import annotations

import subprocess

from bench.system import Kind, System, free_port
from bench.way import Way

STUNNEL = """\
foreground = yes
pid =
debug = 3
socket = l:TCP_NODELAY=1
socket = r:TCP_NODELAY=1
[bench]
accept = 127.0.0.1:{accept}
connect = 127.0.0.1:{connect}
"""
HAPROXY = """\
global
    maxconn 4000
defaults
    mode tcp
    timeout connect 10s
    timeout client 10m
    timeout server 10m
listen bench
    bind 127.0.0.1:{accept}
    server share 127.0.0.1:{connect}
"""


class Stunnel(System):
    """TLS from end to end, raw TCP through the relay."""

    name = "stunnel+haproxy"
    kind = Kind.END_TO_END
    needs = ("stunnel", "haproxy", "openssl")

    def set_up(self) -> None:
        """A certificate, then the three."""
        folder = self.folder
        options = (
            "-x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=share -days 30"
        )
        files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
        subprocess.run(
            ["openssl", "req", *options.split(), *files], check=True, capture_output=True
        )
        share, relay, local = free_port(), free_port(), free_port()
        configs = {
            "share.conf": STUNNEL.format(accept=share, connect=self.tcp_port)
            + f"cert = {folder}/cert.pem\nkey = {folder}/key.pem\n",
            "relay.cfg": HAPROXY.format(accept=relay, connect=share),
            "connect.conf": STUNNEL.format(accept=local, connect=relay)
            + f"client = yes\nverifyPeer = yes\nCAfile = {folder}/cert.pem\n",
        }
        for name, text in configs.items():
            (folder / name).write_text(text)
        self.run(self.share, ["stunnel", str(folder / "share.conf")])
        self.run(self.relay, ["haproxy", "-db", "-f", str(folder / "relay.cfg")])
        self.run(self.connect, ["stunnel", str(folder / "connect.conf")])
        self.way = Way(local)
