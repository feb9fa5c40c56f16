"""Networks for the lab's hosts: IPv6, small MTUs, firewalls, proxies; and a service to reach."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.demo.program import started
from tests.lab import Host, Lab
from tests.lab.plan import PORT, SWITCH, UPLINK

SIZE = 8_000_000  # bytes each way: many windows of packets
SERVICE_PORT = 8000
RELAY_IP6 = "2001:db8::10"
RELAY_LINK_LOCAL = "fe80::10"
SITES = {"alice": 21, "bob": 22}
PROXY_PORT = 8888
LISTENS_WITHIN = 10.0  # seconds
POLL = 0.05  # seconds
SERVICE = """
import hashlib, http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.say(hashlib.shake_128(self.path.encode()).digest(int(self.path.strip("/"))))
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.say(hashlib.sha256(body).hexdigest().encode())
    def say(self, body):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *arguments):
        pass
http.server.ThreadingHTTPServer(("0.0.0.0", int(sys.argv[1])), Handler).serve_forever()
"""


def wait_for_port(host: Host, port: int) -> None:
    """Until something listens there."""
    deadline = time.monotonic() + LISTENS_WITHIN
    while f":{port} " not in host.run(["ss", "-Hltn"]).stdout:
        assert time.monotonic() < deadline, f"{host.name}: nothing listens on {port}"
        time.sleep(POLL)


@contextmanager
def service(host: Host) -> Iterator[str]:
    """Answers GET /SIZE with that many bytes, POST with the SHA-256 of what came."""
    with host.running(["python", "-c", SERVICE, str(SERVICE_PORT)]):
        wait_for_port(host, SERVICE_PORT)
        yield f"{host.ip}:{SERVICE_PORT}"


@contextmanager
def relay(lab: Lab, port: int = 443, listen: str = "[::]") -> Iterator[str]:
    """`vrelay serve`; its pin."""
    command = ["vrelay", "serve", "--json", "--listen", f"{listen}:{port}", "--open"]
    command += ["--domain", "localhost"]
    with started(lab.relay, command) as program:
        yield str(program.wait_for("serving", 20.0)["fingerprint"])[:32]


def check_transfers(host: Host, socks: str, name: str) -> None:
    """SIZE bytes each way through a SOCKS address, compared by their SHA-256."""
    url = f"http://{name}:{SERVICE_PORT}"
    curl = ["curl", "-sS", "--max-time", "60", "--socks5-hostname", socks]
    got = host.tmp / "got"
    host.run([*curl, "-o", str(got), f"{url}/{SIZE}"], timeout=90)
    data = got.read_bytes()
    assert len(data) == SIZE
    assert data == hashlib.shake_128(f"/{SIZE}".encode()).digest(SIZE)
    sent = host.run([*curl, "-H", "Expect:", "--data-binary", f"@{got}", f"{url}/"], timeout=90)
    assert sent.stdout == hashlib.sha256(data).hexdigest()
    got.unlink()


def router(lab: Lab, site: str) -> Host:
    return lab.hosts[f"{site}-nat"]


def ip(host: Host, *lines: str) -> None:
    host.run(["ip", "-batch", "-"], input="\n".join(lines) + "\n")


def add_ipv6(lab: Lab) -> None:
    """2001:db8::/64 is the internet, 2001:db8:21::/64 alice's LAN, without NAT; loopback too."""
    for address in (RELAY_IP6, RELAY_LINK_LOCAL):
        ip(lab.relay, f"address add {address}/64 dev {PORT} nodad")
    for site, number in SITES.items():
        lan = f"2001:db8:{number}:"
        way = router(lab, site)
        way.run(["sysctl", "-qw", "net.ipv6.conf.all.forwarding=1"])
        ip(
            way,
            f"address add 2001:db8::{number}/64 dev {UPLINK} nodad",
            f"address add {lan}:1/64 dev {SWITCH} nodad",
        )
        ip(
            lab.hosts[site],
            f"address add {lan}:2/64 dev {PORT} nodad",
            f"route add default via {lan}:1",
        )
        ip(lab.relay, f"route add {lan}:/64 via 2001:db8::{number}")


def name(lab: Lab, host: str, *addresses: str) -> None:
    """Let alice, bob and their routers resolve `host` to these."""
    lines = "".join(f"{address} {host}\n" for address in addresses)
    for site in SITES:
        for each in (lab.hosts[site], router(lab, site)):
            hosts = each.run(["cat", "/etc/hosts"]).stdout
            each.run(["sh", "-c", "cat > /etc/hosts"], input=hosts + lines)


@contextmanager
def nft(host: Host, rules: str) -> Iterator[None]:
    """A table of a test's own, gone after it."""
    host.run(["nft", "-f", "-"], input=f"table inet test {{\n{rules}\n}}\n")
    try:
        yield
    finally:
        host.run(["nft", "delete", "table", "inet", "test"])


def only(ports: str) -> str:
    """Rules of a router that lets out TCP to these `ports` (nft's words) alone; "": nothing."""
    allowed = f"tcp dport {ports} accept\n" if ports else ""
    return f"""
    chain out {{
        type filter hook forward priority -10; policy accept;
        oifname != "{UPLINK}" accept
        ct state established,related accept
        {allowed}
        drop
    }}"""


@contextmanager
def narrow(lab: Lab, mtu: int) -> Iterator[None]:
    """Both routers take packets of up to `mtu` bytes alone, and say so by ICMP; links take more."""

    def resize(options: str) -> None:
        for site, number in SITES.items():
            way = router(lab, site)
            ip(
                way,
                f"route replace 203.0.113.0/24 dev {UPLINK} {options}",
                f"route replace 10.{number}.0.0/24 dev {SWITCH} {options}",
                f"route replace 2001:db8::/64 dev {UPLINK} metric 256 {options}",
                f"route replace 2001:db8:{number}::/64 dev {SWITCH} metric 256 {options}",
            )
        for host in (lab.relay, *(lab.hosts[site] for site in SITES)):
            host.run(["ip", "route", "flush", "cache"])  # what was learned of MTUs
            host.run(["ip", "-6", "route", "flush", "cache"])

    resize(f"mtu {mtu}")
    try:
        yield
    finally:
        resize("")


@contextmanager
def tinyproxy(host: Host, address: str, *lines: str) -> Iterator[str]:
    """An HTTP proxy that allows CONNECT to port 443 alone; `lines` more of its configuration."""
    config = host.folder / "tinyproxy.conf"
    config.write_text(
        "\n".join(
            [f"Port {PROXY_PORT}", f"Listen {address}", "Timeout 600", "ConnectPort 443", *lines]
        )
        + "\n"
    )
    with host.running(["tinyproxy", "-d", "-c", str(config)]):
        wait_for_port(host, PROXY_PORT)
        yield f"{address}:{PROXY_PORT}"
    config.unlink()


@contextmanager
def dante(host: Host, address: str) -> Iterator[str]:
    """A SOCKS5 proxy that allows port 443 alone."""
    config = host.folder / "danted.conf"
    config.write_text(
        f"""logoutput: stderr
internal: {address} port = {PROXY_PORT}
external: {UPLINK}
clientmethod: none
socksmethod: none
user.privileged: root
user.unprivileged: nobody
client pass {{ from: 0.0.0.0/0 to: 0.0.0.0/0 }}
socks pass {{ from: 0.0.0.0/0 to: 0.0.0.0/0 port = 443 command: connect }}
socks block {{ from: 0.0.0.0/0 to: 0.0.0.0/0 }}
"""
    )
    with host.running(["danted", "-f", str(config), "-p", str(host.folder / "danted.pid")]):
        wait_for_port(host, PROXY_PORT)
        yield f"{address}:{PROXY_PORT}"
    config.unlink()


def code_file(host: Host, code: str) -> Path:
    path = host.tmp / "code"
    path.write_text(code + "\n")
    return path


def established(host: Host) -> set[str]:
    """The connections to port 443, by their addresses."""
    rows = host.run(["ss", "-Htn", "state", "established", "dport", "=", ":443"]).stdout
    return {" ".join(row.split()[2:4]) for row in rows.splitlines()}
