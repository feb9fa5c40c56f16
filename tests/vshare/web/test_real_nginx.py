"""Virtual hosts of a real nginx: found over SSH, visited under public names."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.loops import run, until
from tests.vshare.peers import free_port, openssh
from tests.vshare.test_look import look_at
from tests.vshare.web.test_stage import Keeper, Room
from tests.vshare.web.test_vhosts import program
from tunnel.codes import Code
from tunnel.http_heads import AnswerHead, maybe_answer
from tunnel.names import ShareName
from vshare.look import Found
from vshare.options import Options
from vshare.reach_direct import DirectReach
from vshare.web.access_setup import Access
from vshare.web.site_rules import site_rules
from vshare.web.stage import Stage

NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
NAME = ShareName("calm-otter")
PUBLIC = {label: f"{NAME}{label}.relay.example" for label in ("", "--app-test", "--www-app-test")}
URLS = f"https://{PUBLIC['']}/", f"http://{PUBLIC['']}/"
_CONFIG = """\
daemon off; pid {tmp}/pid; error_log stderr; events {{ }}
http {{
  {temporary}
  access_log off; default_type text/html;
  server {{
    listen {port} default_server; server_name _;
    location = /app {{ return 301 http://app.test:{port}/x; }}
    location = /folder {{ return 301 /folder/; }}
    location / {{ return 200 "<title>Other</title>"; }}
  }}
  server {{
    listen {port}; server_name app.test;
    location = /www {{ return 301 http://www.app.test:{port}/; }}
    location = /log-in {{
      add_header Set-Cookie "id=1; Domain=.app.test; Secure; HttpOnly";
      return 302 /;
    }}
    location / {{ return 200 "<title>The app</title>$http_host $http_origin"; }}
  }}
  server {{ listen {port}; server_name www.app.test; return 200 "<title>WWW</title>$host"; }}
}}
"""


@contextlib.contextmanager
def nginx(tmp_path: Path) -> Iterator[int]:
    """A running nginx with virtual hosts, and a program `nginx` that knows its configuration."""
    assert NGINX is not None
    port = free_port()
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = " ".join(f"{kind}_temp_path {tmp_path}/{kind};" for kind in kinds)
    config = tmp_path / "nginx.conf"
    config.write_text(_CONFIG.format(tmp=tmp_path, temporary=temporary, port=port))
    (tmp_path / "bin").mkdir()
    program(tmp_path / "bin/nginx", f'exec {NGINX} -c {config} "$@"')
    with subprocess.Popen([NGINX, "-c", config], stderr=subprocess.DEVNULL) as process:
        try:
            yield port
        finally:
            process.terminate()


async def visit(found: Found, label: str, path: str) -> tuple[AnswerHead, bytes]:
    """What a visitor with TLS gets who opens a page of a site."""
    site = found.sites.find(label.strip("-"), 443)
    rules = site_rules(found, Access(), NAME, *URLS)[site]
    visitor = Keeper()
    stage = Stage(visitor, site.label, rules, Room(is_empty=True), lambda: None)
    async with DirectReach("127.0.0.1") as reach:
        machine = await reach.open_tcp("", site.port)
        machine.peer = stage
        stage.link(machine)
        machine.link(stage)
        host = PUBLIC[label]
        visitor.peer.send(
            f"GET {path} HTTP/1.1\r\nHost: {host}\r\nOrigin: https://{host}\r\n"
            f"X-Forwarded-Host: {host}\r\nX-Forwarded-Proto: https\r\n"
            f"Connection: close\r\n\r\n".encode()
        )
        await until(lambda: visitor.eof)
        machine.reset(Code.CLOSED)
    answer = maybe_answer(visitor.sent)
    assert answer is not None
    return answer[0], bytes(visitor.sent[answer[1] :])


@pytest.mark.programs
@pytest.mark.skipif(NGINX is None, reason="no nginx is installed")
def test_virtual_hosts_of_a_real_nginx(tmp_path: Path) -> None:
    async def main() -> None:
        found = await look_at(Options(http_port=port), sshd.access)
        titles = {label: found.sites.find(label, 80).title for label in found.sites.labels}
        assert titles == {"": "Other", "app-test": "The app", "www-app-test": "WWW"}

        head, page = await visit(found, "--app-test", "/")
        own = f"app.test:{port}"
        assert page == f"<title>The app</title>{own} http://{own}".encode()
        assert (await visit(found, "", "/"))[1] == b"<title>Other</title>"
        head, _ = await visit(found, "", "/app")  # though that one gets the visitor's Host
        assert head.value(b"location") == f"https://{PUBLIC['--app-test']}/x".encode()
        head, _ = await visit(found, "", "/folder")  # of which nginx makes HOST:PORT
        assert head.value(b"location") == f"https://{PUBLIC['']}/folder/".encode()

        head, _ = await visit(found, "--app-test", "/www")
        assert head.value(b"location") == f"https://{PUBLIC['--www-app-test']}/".encode()
        # nginx makes an absolute URL of what it is configured with.
        head, _ = await visit(found, "--app-test", "/log-in")
        assert head.value(b"location") == f"https://{PUBLIC['--app-test']}/".encode()
        assert head.value(b"set-cookie") == b"id=1; Secure; HttpOnly"

    programs = f"{tmp_path}/bin:/usr/bin:/bin"
    with nginx(tmp_path) as port, openssh(tmp_path, programs=programs) as sshd:
        run(main)
