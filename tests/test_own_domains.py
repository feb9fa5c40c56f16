"""A domain of the sharer's own: the commands as people run them, with the DNS server and the
authority that ACME's people test with."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.relay.acme_server import CHALLENGES, PEBBLE, AcmeServer, acme_server
from tests.test_commands import BIN, SECRET, WAIT, Command, Desk, desk, site

__all__ = ["desk", "site"]  # fixtures

pytestmark = [
    pytest.mark.programs,
    pytest.mark.skipif(not (PEBBLE and CHALLENGES), reason="pebble is not installed"),
]

DOMAIN, HOST = "relay.example", "app.example.com"


class Stage:
    """A relay that gets certificates, and asks the test's DNS."""

    def __init__(self, desk: Desk, server: AcmeServer, folder: Path) -> None:
        self.desk, self.server = desk, server
        run = folder / "run"
        run.mkdir(mode=0o700)
        own = {"REQUESTS_CA_BUNDLE": str(server.trusted), "XDG_RUNTIME_DIR": str(run)}
        desk.environment |= own
        for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
            desk.environment.pop(name, None)
        where = ("--listen", "127.0.0.1:0", "--listen", f"127.0.0.1:{server.http_port}", "--open")
        whose = ("--domain", DOMAIN, "--resolver", f"127.0.0.1:{server.dns_port}")
        acme = ("--acme", "op@relay.example", "--acme-server", server.directory)
        state = ("--state-dir", str(folder / "relay"))
        relay = desk.start("vrelay", "serve", "--json", "-v", *where, *whose, *acme, *state)
        serving = relay.wait_for("serving")
        self.port = int(serving["relay"].rpartition(":")[2])
        # It has a certificate of an authority that nobody knows here: so it is pinned.
        self.address = f"127.0.0.1:{self.port}#{serving['fingerprint']}"
        self.trusted = ssl.create_default_context(cadata=server.root())

    def share(self, site: int, name: str, *options: str) -> Command:
        options = ("--relay", self.address, "--name", name, "--own-domain", *options)
        share, _ = self.desk.share("--target", "127.0.0.1", "--http", str(site), "-v", *options)
        return share

    def get(self, trusted: ssl.SSLContext) -> tuple[int, bytes]:
        """What a browser gets at HOST."""
        connection = http.client.HTTPSConnection(HOST, timeout=WAIT, context=trusted)
        sock = socket.create_connection(("127.0.0.1", self.port), WAIT)
        try:
            connection.sock = trusted.wrap_socket(sock, server_hostname=HOST)
            connection.request("GET", "/")
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()
            sock.close()

    def status(self, name: str) -> dict[str, Any]:
        command = [str(BIN / "vshare"), "status", "--share", name, "--json"]
        done = subprocess.run(
            command, capture_output=True, text=True, env=self.desk.environment, timeout=WAIT
        )
        (row,) = json.loads(done.stdout)["own_domains"]
        assert isinstance(row, dict)
        return row


def told(share: Command, **wanted: str) -> dict[str, Any]:
    """The next event about its domain that says so."""
    assert share.process.stdout is not None
    while line := share.process.stdout.readline():
        event: dict[str, Any] = json.loads(line)
        share.seen.append(event)
        if event["event"] == "own-domain" and wanted.items() <= event.items():
            return event
    raise AssertionError(f"not {wanted}: {share.seen}, {share.errors.read_text()}")


def test_from_no_record_to_a_certificate_that_browsers_know(
    desk: Desk, site: int, tmp_path: Path
) -> None:
    with acme_server(tmp_path) as server:
        stage = Stage(desk, server, tmp_path)
        share = stage.share(site, "shop", "App.Example.com.")
        first = told(share, state="unproven")
        assert (first["domain"], first["txt_name"]) == (HOST, f"_vshare-challenge.{HOST}")
        assert first["cname"] == f"shop.{DOMAIN}"
        errors = share.errors.read_text()
        assert f'_vshare-challenge.{HOST}. TXT "{first["txt_value"]}"' in errors
        assert f"{HOST}. CNAME shop.{DOMAIN}." in errors

        server.say(first["txt_name"], first["txt_value"])
        good = told(share, state="good", certificate="authority")
        assert good["url"] == f"https://{HOST}:{stage.port}/"
        status, body = stage.get(stage.trusted)
        assert (status, SECRET in body) == (200, True)
        assert stage.status("shop")["state"] == "good"

        other = stage.share(site, "thief", HOST)
        told(other, state="unproven")  # what the records say is for another key
        assert other.interrupt() == 0
        assert stage.get(stage.trusted)[0] == 200
        assert share.interrupt() == 0
        assert stage.get(stage.trusted)[0] == 410


def test_a_share_that_ends_browsers_tls_itself(desk: Desk, site: int, tmp_path: Path) -> None:
    with acme_server(tmp_path) as server:
        stage = Stage(desk, server, tmp_path)
        share = stage.share(site, "shop", HOST, "--https-passthrough")
        first = told(share, state="unproven")
        server.say(first["txt_name"], first["txt_value"])
        told(share, state="good", certificate="share")
        shown = ssl.create_default_context()
        shown.check_hostname, shown.verify_mode = False, ssl.CERT_NONE
        status, body = stage.get(shown)
        assert (status, SECRET in body) == (200, True)
        with pytest.raises(ssl.SSLCertVerificationError):
            stage.get(stage.trusted)
        assert share.interrupt() == 0
