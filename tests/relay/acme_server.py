"""Pebble, the test server of those who made ACME, with the DNS server that it comes with."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import shutil
import socket
import ssl
import stat
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from relay.certificate import make_certificate, make_key

PEBBLE = shutil.which("pebble")
CHALLENGES = shutil.which("pebble-challtestsrv")
STARTS_WITHIN = 10.0  # seconds
HOOK = """#!/bin/sh
echo "$1 $2" >> '{log}'
case $1 in present) call=set-txt;; cleanup) call=clear-txt;; esac
exec curl -fsS --noproxy '*' -d '{{"host": "'$2'", "value": "'$3'"}}' http://127.0.0.1:{port}/$call
"""


@dataclass(frozen=True)
class AcmeServer:
    directory: str
    trusted: Path  # what its own HTTPS is verified with (REQUESTS_CA_BUNDLE)
    hook: Path
    log: Path  # what the hook was called for
    management: str
    http_port: int
    dns_port: int  # of 127.0.0.1
    dns_management: str

    def say(self, name: str, text: str) -> None:
        """Let the DNS have a TXT record at `name`."""
        body = json.dumps({"host": f"{name}.", "value": text}).encode()
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        opener.open(f"{self.dns_management}/set-txt", body, timeout=STARTS_WITHIN).close()

    def root(self) -> str:
        """The certificate (PEM) of the CA that signs, another each time it is started."""
        context = ssl.create_default_context(cafile=str(self.trusted))
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )
        with opener.open(f"{self.management}/roots/0", timeout=STARTS_WITHIN) as answer:
            return str(answer.read().decode())


@contextlib.contextmanager
def acme_server(folder: Path, http_port: int = 0) -> Iterator[AcmeServer]:
    """It looks for HTTP-01 at `http_port` of 127.0.0.1 (0: a free one), whatever the name."""
    assert PEBBLE is not None
    assert CHALLENGES is not None
    key = make_key()
    certificate = make_certificate(key, "localhost", datetime.datetime.now(datetime.UTC))
    trusted, key_file = folder / "pebble.pem", folder / "pebble.key"
    trusted.write_bytes(certificate)
    key_file.write_bytes(key)
    port, management, dns, dns_management, tls_port, free = free_ports(6)
    http_port = http_port or free
    config = {
        "listenAddress": f"127.0.0.1:{port}",
        "managementListenAddress": f"127.0.0.1:{management}",
        "certificate": str(trusted),
        "privateKey": str(key_file),
        "httpPort": http_port,
        "tlsPort": tls_port,
        "ocspResponderURL": "",
        "externalAccountBindingRequired": False,
    }
    config_file = folder / "pebble.json"
    config_file.write_text(json.dumps({"pebble": config}))
    hook, log = folder / "hook", folder / "hook.log"
    hook.write_text(HOOK.format(log=log, port=dns_management))
    hook.chmod(stat.S_IRWXU)
    names = [CHALLENGES, "-defaultIPv6", "", "-dns01", f"127.0.0.1:{dns}", "-http01", ""]
    names += ["-https01", "", "-tlsalpn01", "", "-management", f"127.0.0.1:{dns_management}"]
    server = [PEBBLE, "-config", str(config_file), "-dnsserver", f"127.0.0.1:{dns}"]
    with (
        _running(names, folder / "challtestsrv.log", "Starting management server"),
        _running(server, folder / "pebble.log", "ACME directory available"),
    ):
        places = f"https://localhost:{port}/dir", trusted, hook, log
        ports = f"https://localhost:{management}", http_port, dns
        yield AcmeServer(*places, *ports, f"http://127.0.0.1:{dns_management}")


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody has, no two the same."""
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(socket.socket()) for _ in range(count)]
        for sock in held:
            sock.bind(("127.0.0.1", 0))
        return [int(sock.getsockname()[1]) for sock in held]


@contextlib.contextmanager
def _running(command: list[str], log: Path, ready: str) -> Iterator[None]:
    # Nothing is waited for, and no good nonce is refused: by default one of twenty is, and two in a
    # row are more than the library bears.
    environment = os.environ | {"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0"}
    with (
        open(log, "wb") as out,
        subprocess.Popen(command, stdout=out, stderr=out, env=environment) as process,
    ):
        try:
            until = time.monotonic() + STARTS_WITHIN
            while ready not in log.read_text():
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < until, log.read_text()
                time.sleep(0.01)
            yield
        finally:
            process.kill()
