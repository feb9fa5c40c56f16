"""The two proxies, each with as many ways to an application of its own as cases run at once."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

from relay.config import RelayConfig
from relay.server import Relay
from tests.conformance.application import Application
from tests.relay.tiny_share import tiny_share

LANES = 8  # cases at once: most of their time is spent waiting
NGINX = shutil.which("nginx") or shutil.which("/usr/sbin/nginx") or ""
_START_WITHIN = 10.0  # seconds

# What is not said here is as nginx has it when nobody says anything. Buffers are off, so that both
# pass on what comes when it comes.
_CONFIG = """
daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/errors crit;
events {{ worker_connections 512; }}
http {{
  access_log off; client_max_body_size 0;
  client_body_temp_path {folder}/1; proxy_temp_path {folder}/2; fastcgi_temp_path {folder}/3;
  uwsgi_temp_path {folder}/4; scgi_temp_path {folder}/5;
  map $http_upgrade $upgrade {{ default upgrade; "" ""; }}
{upstreams}
{servers}
}}
"""
_UPSTREAM = "  upstream lane{lane} {{ server 127.0.0.1:{port}; keepalive 4; }}"
_SERVER = """
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://lane{lane}; proxy_http_version 1.1;
      proxy_buffering off; proxy_request_buffering off;
      proxy_pass_header Server; proxy_pass_header Date;
      proxy_set_header Host $http_host;
      proxy_set_header Connection $upgrade; proxy_set_header Upgrade $http_upgrade;
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header X-Forwarded-Host $http_host;
      proxy_set_header Forwarded 'for=$remote_addr;host="$http_host";proto=$scheme';
    }}
  }}
"""


@dataclass(frozen=True)
class Lane:
    """A way through a proxy to an application that serves one case at a time."""

    application: Application
    port: int
    host: bytes


@contextlib.asynccontextmanager
async def applications() -> AsyncIterator[list[tuple[Application, int]]]:
    """One for each lane, and its port."""
    async with contextlib.AsyncExitStack() as stack:
        found = []
        for _ in range(LANES):
            application = Application()
            server = await asyncio.start_server(application, "127.0.0.1", 0, limit=1 << 20)
            stack.callback(application.close)
            stack.callback(server.close)
            found.append((application, server.sockets[0].getsockname()[1]))
        yield found


@contextlib.asynccontextmanager
async def gateway() -> AsyncIterator[list[Lane]]:
    """The relay's, with a share whose sites are the applications."""
    async with applications() as behind, Relay(RelayConfig()) as relay:
        ports = frozenset(port for _, port in behind)
        async with tiny_share(relay.address, None, open_ports=ports) as link:
            name = link.registered.name
            yield [
                Lane(each, relay.port, f"{name}--{port}.localhost:{relay.port}".encode())
                for each, port in behind
            ]


@contextlib.asynccontextmanager
async def nginx() -> AsyncIterator[list[Lane]]:
    """Debian's, as somebody without rights, with a folder and a configuration of its own. It gets
    its listening sockets from here, as it gets them from itself when it is exchanged."""
    async with applications() as behind:
        with contextlib.ExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="nginx-"))
            listeners = [
                stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in behind
            ]
            ports = [each.getsockname()[1] for each in listeners]
            _write_configuration(Path(folder), [port for _, port in behind], ports)
            stack.enter_context(_process(Path(folder), [each.fileno() for each in listeners]))
            yield [
                Lane(each, port, f"localhost:{port}".encode())
                for (each, _), port in zip(behind, ports, strict=True)
            ]


def version() -> str:
    """Of nginx."""
    said = subprocess.run([NGINX, "-v"], capture_output=True, text=True, check=True).stderr
    return said.strip().rpartition("/")[2]


def _write_configuration(folder: Path, behind: list[int], ports: list[int]) -> None:
    upstreams = [_UPSTREAM.format(lane=at, port=port) for at, port in enumerate(behind)]
    servers = [_SERVER.format(lane=at, port=port) for at, port in enumerate(ports)]
    text = _CONFIG.format(folder=folder, upstreams="\n".join(upstreams), servers="\n".join(servers))
    (folder / "nginx.conf").write_text(text)


@contextlib.contextmanager
def _process(folder: Path, descriptors: list[int]) -> Iterator[None]:
    is_root = os.geteuid() == 0
    if is_root:
        shutil.chown(folder, "nobody", "nogroup")
    with subprocess.Popen(
        [NGINX, "-p", str(folder), "-e", f"{folder}/errors", "-c", f"{folder}/nginx.conf"],
        env={"NGINX": "".join(f"{each};" for each in descriptors)},
        pass_fds=descriptors,
        stdin=subprocess.DEVNULL,
        user="nobody" if is_root else None,
        group="nogroup" if is_root else None,
        extra_groups=() if is_root else None,
    ) as process:
        try:
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(_START_WITHIN)
            finally:
                process.kill()
