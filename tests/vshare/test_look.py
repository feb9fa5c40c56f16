"""What `vshare up` finds on a machine, which is this process's own servers."""

from __future__ import annotations

import asyncio
import datetime
from pathlib import Path

import pytest

from relay.certificate import ServerIdentity, make_certificate, make_key
from tests.loops import run
from tests.vshare.peers import free_port, openssh, tcp_server
from tests.vshare.web.test_vhosts import program
from tunnel.console import Console
from tunnel.errors import VshareError
from vshare.look import Found, look
from vshare.machine import Machine, Source, SshAccess
from vshare.options import Options, SshOptions
from vshare.reach_machine import MachineReach


async def site(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A server with virtual hosts: the title is the Host that was asked for."""
    head = await reader.readuntil(b"\r\n\r\n")
    host = head.partition(b"Host: ")[2].partition(b"\r\n")[0]
    writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n<title>at " + host + b"</title>")
    writer.close()


async def look_at(options: Options, ssh: SshAccess | None = None) -> Found:
    machine = Machine("web", "test", "running", "127.0.0.1", Source.TARGET, ssh)
    async with MachineReach(machine) as reach:
        return await look(options, machine, reach, Console("web", verbose=True))


def test_the_main_site_and_what_is_allowed_besides(capsys: pytest.CaptureFixture[str]) -> None:
    async def main() -> None:
        async with tcp_server(site) as web, tcp_server(site) as other:
            options = Options(http_port=web, ports=(other, free_port()), host_header="app.test")
            found = await look_at(options)
        assert (found.http_port, found.https_port) == (web, None)
        assert found.sites.labels == ["", str(other)]
        assert {each.title for each in found.sites.all()} == {"at app.test"}
        said = "".join(capsys.readouterr())
        assert f"Local HTTP port: {web}\n" in said
        assert "Local HTTPS port: disabled\n" in said
        assert f"Also found: port {other}: at app.test\n" in said

    run(main)


def test_disable_https(capsys: pytest.CaptureFixture[str]) -> None:
    key = make_key()
    now = datetime.datetime.now(datetime.UTC)
    context = ServerIdentity(make_certificate(key, "web.test", now), key).context("http/1.1")

    async def main() -> None:
        async with tcp_server(site) as web:
            server = await asyncio.start_server(site, "127.0.0.1", 0, ssl=context)
            async with server:
                ports = (server.sockets[0].getsockname()[1],)
                both = await look_at(Options(http_port=web, ports=ports))
                assert "certificates are not checked" in "".join(capsys.readouterr())
                one = await look_at(Options(http_port=web, ports=ports, https=False))
                assert "certificates" not in "".join(capsys.readouterr())
        assert both.https_port == ports[0]
        assert one.https_port is None
        assert one.sites.labels == [""]

    run(main)


def test_virtual_hosts_of_its_web_server(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()

    async def main() -> None:
        async with tcp_server(site) as web:
            conf = f"server {{ listen {web}; server_name app.test *.app.test; }}"
            told = f"# configuration file /x:\n{conf}"
            program(programs / "nginx", f"cat <<'EOF'\n{told}\nEOF")
            program(programs / "sudo", f"touch {tmp_path}/asked; exit 1")
            found = await look_at(Options(http_port=web), sshd.access)
        assert found.sites.labels == ["", "app-test"]
        # Where it does not work without a password, somebody would be told of the try.
        assert not (tmp_path / "asked").exists()
        assert found.sites.find("app-test", 80).host == f"app.test:{web}"
        said = "".join(capsys.readouterr())
        assert f"Also found: app.test at port {web}: at app.test:{web}\n" in said
        assert "patterns have no URL: *.app.test\n" in said

    with openssh(tmp_path, programs=f"{programs}:/usr/bin:/bin") as sshd:
        run(main)


def test_without_http_there_is_nothing_but_ssh(capsys: pytest.CaptureFixture[str]) -> None:
    async def with_another() -> Found:
        async with tcp_server(site) as other:
            ssh = SshOptions(password=False)
            return await look_at(Options(http_port=closed, ports=(other,), ssh=ssh))

    async def main() -> None:
        with pytest.raises(VshareError, match="no HTTP port"):
            await look_at(Options(http_port=closed))
        found = await look_at(Options(http_port=closed, ssh=SshOptions(password=False)))
        assert not list(found.sites.all())
        assert "there is no public URL" in "".join(capsys.readouterr())
        assert not list((await with_another()).sites.all())
        assert not list((await look_at(Options(http=False))).sites.all())

    closed = free_port()
    run(main)
