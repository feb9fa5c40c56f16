"""Three relays that are one, on hosts of their own in the lab, with a Redis on a fourth."""

from __future__ import annotations

import hashlib
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.demo.program import Program, started
from tests.e2e.lab_networks import wait_for_port
from tests.lab import Host, Lab

DOMAIN = "share.test"
NODES = ("relay", "relay2", "relay3")
NODE_PORT = 7444
REDIS_PORT = 6379
DRAIN = 4  # seconds
SERVES_WITHIN = 30.0  # seconds
SITES = """
import http.server, sys, threading
from tests.e2e.relay_cluster import site_bytes
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        body = site_bytes(self.server.server_port, int(self.path.strip("/") or 1))
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *arguments):
        pass
for port in sys.argv[1:]:
    server = http.server.ThreadingHTTPServer(("0.0.0.0", int(port)), Handler)
    threading.Thread(target=server.serve_forever).start()
"""


def site_bytes(port: int, size: int) -> bytes:
    """What the site at that port says when it is asked for so many bytes; no other says them."""
    return hashlib.shake_128(str(port).encode()).digest(size)


class Cluster:
    """`nodes` run while they are in `programs`. `pin` is of the certificate that all show."""

    def __init__(self, lab: Lab, stack: ExitStack) -> None:
        self._lab, self._stack = lab, stack
        self.programs: dict[str, Program] = {}
        self.pin = ""
        self._key = secrets.token_hex(32)
        self._password = secrets.token_hex(16)
        self.redis: subprocess.Popen[str]

    @property
    def host(self) -> Host:
        """Where Redis is."""
        return self._lab.hosts["redis"]

    def start_redis(self) -> None:
        """It keeps what it knows."""
        config = self.host.folder / "redis.conf"
        config.write_text(
            f"bind {self.host.ip}\nport {REDIS_PORT}\nrequirepass {self._password}\n"
            f"dir {self.host.tmp}\nappendonly yes\nappendfsync always\nsave ''\n"
        )
        self.redis = self._stack.enter_context(
            self.host.running(["redis-server", str(config)], stdout=subprocess.DEVNULL)
        )
        wait_for_port(self.host, REDIS_PORT)

    def start(self, name: str) -> None:
        """A relay, which has the first one's certificate."""
        host = self._lab.hosts[name]
        state = host.home / "relay"
        key, login = host.home / "cluster-key", host.home / "redis-login"
        for file, text in ((key, self._key), (login, self._password)):
            file.touch(mode=0o600)
            file.write_text(text)
        if name != NODES[0] and not state.exists():
            self._copy_identity(self._lab.hosts[NODES[0]].home / "relay", state)
        command = ["vrelay", "serve", "--json", "--open", "--domain", DOMAIN]
        command += ["--listen", f"{host.ip}:443", "--state-dir", str(state)]
        command += ["--cluster", f"redis://{self.host.ip}:{REDIS_PORT}/0"]
        command += ["--cluster-key", str(key), "--cluster-login", str(login)]
        command += ["--node-address", f"{host.ip}:{NODE_PORT}", "--drain", str(DRAIN)]
        program = self._stack.enter_context(started(host, command))
        self.pin = str(program.wait_for("serving", SERVES_WITHIN)["fingerprint"])[:32]
        self.programs[name] = program

    def _copy_identity(self, source: Path, state: Path) -> None:
        state.mkdir(mode=0o700)
        for name in ("relay.key", f"relay-{DOMAIN}.pem"):
            shutil.copy(source / name, state / name)

    def kill(self, name: str) -> None:
        """As by a power cut."""
        process = self.programs.pop(name).process
        process.kill()
        process.wait(10)

    def drain(self, name: str) -> None:
        """Tell a relay to end, as for an upgrade."""
        self.programs[name].process.terminate()

    def ended(self, name: str) -> int:
        """Wait for the end of a relay that was told to; its exit code."""
        return self.programs.pop(name).process.wait(DRAIN + SERVES_WITHIN)


@contextmanager
def relay_cluster(lab: Lab) -> Iterator[Cluster]:
    """All of them are up, and are what the lab's hosts find at DOMAIN."""
    lines = "".join(f"{lab.hosts[name].ip} {DOMAIN}\n" for name in NODES)
    for each in (lab.alice, lab.bob, lab.carol):
        hosts = each.run(["cat", "/etc/hosts"]).stdout
        each.run(["sh", "-c", "cat > /etc/hosts"], input=hosts + lines)
    with ExitStack() as stack:
        cluster = Cluster(lab, stack)
        cluster.start_redis()
        for name in NODES:
            cluster.start(name)
        yield cluster
