"""What the machine's web servers are configured with: the helper, and what is made of its words."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from importlib import resources
from pathlib import Path

import pytest

from tests.loops import run
from tests.vshare.peers import openssh
from tests.vshare.web.test_apache import FILES, LIST
from tests.vshare.web.test_nginx import DEBIAN, HOMESTEAD
from tunnel.errors import VshareError
from vshare.ssh_link import SshLink
from vshare.web import vhosts
from vshare.web.vhosts import Vhosts, find_vhosts, parse_vhosts
from vshare.web.virtual_host import VirtualHost

NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
# As `docker ps` prints the ports of Laradock's nginx.
PORTS = (
    "81/tcp, 0.0.0.0:8080->80/tcp, :::8080->80/tcp, 127.0.0.1:8444->443/tcp, 0.0.0.0:9-11->9-11/tcp"
)
LARADOCK = """# configuration file /etc/nginx/nginx.conf:
http { include /etc/nginx/sites-available/*.conf; }
# configuration file /etc/nginx/sites-available/app.conf:
server {
    listen 80;
    listen [::]:80;
    listen 10;
    # For https
    listen 443 ssl;
    server_name app.test;
}
server { listen 80 default_server; server_name localhost; }
server { listen 127.0.0.1:80; server_name inner.test; }
server { listen 81; server_name unpublished.test; }
"""  # fmt: skip


def names(found: Vhosts) -> list[tuple[str, int]]:
    return [(each.name, each.port) for each in found.hosts]


def test_all_that_was_printed() -> None:
    found = parse_vhosts(f"noise\n== nginx\n{DEBIAN}\n== apache\n{LIST}\n")
    assert names(found) == [
        ("quic.test", 80),
        ("drupalvm.test", 80),
        ("www.drupalvm.test", 80),
        ("cdn.drupalvm.test", 80),
        ("adminer.test", 80),
        ("drupalvm.test", 443),
        ("mail.test", 8025),
        ("mail.test", 8025),
        ("single.test", 8080),
        ("shop.test", 8081),
        ("www.shop.test", 8081),
        ("admin.test", 8082),
        ("six.test", 8083),
        ("shop.test", 8443),
        ("www.shop.test", 8443),
    ]
    assert found.left_out == (
        "*.shop.test",
        r"~^(?<who>[a-z]{2,9})\.shop\.test$",
        "$hostname",
        "*.wild.test",
    )
    assert names(parse_vhosts(f"== nginx\n{HOMESTEAD}")) == [
        ("homestead.test", 80),
        ("homestead.test", 443),
    ]


def test_what_is_in_containers_is_where_the_machine_has_it() -> None:
    found = parse_vhosts(
        f"== container {PORTS}\n{LARADOCK}\n== container 0.0.0.0:81->80/tcp\n{LIST}"
    )
    assert found.hosts[:4] == (
        VirtualHost("app.test", 10),
        VirtualHost("drupalvm.test", 81),
        VirtualHost("www.drupalvm.test", 81),
        VirtualHost("cdn.drupalvm.test", 81),
    )
    assert found.hosts[5:] == (
        VirtualHost("app.test", 8080),
        VirtualHost("app.test", 8444, "127.0.0.1", ssl=True),
    )


@pytest.mark.parametrize(
    "name",
    ["a b", "-a.test", "a-.test", "a..test", "x" * 64 + ".test", "a." * 130, "192.0.2.1", "80",
     "LOCALHOST", "_", '""', "\u00fc.test", "a/b", "a:80", "\x1b[31m", "default"],
)  # fmt: skip
def test_what_is_no_name_is_not_told(name: str) -> None:
    text = f"== nginx\n# configuration file /x:\nserver {{ server_name '{name}' Good.TEST.; }}"
    assert parse_vhosts(text) == Vhosts((VirtualHost("good.test", 80),))


@pytest.mark.parametrize(
    "ports", ["", "->", "80->80/udp", "99999->80/tcp", "5-1->80/tcp", "a" * 9999]
)
def test_ports_that_are_none(ports: str) -> None:
    assert not parse_vhosts(f"== container {ports}\n{LARADOCK}").hosts


def program(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}")
    path.chmod(0o755)


def helper(tmp_path: Path, where: str, *, bare: bool = False) -> Vhosts:
    """What the helper prints, with programs of `tmp_path` before all others, and its etc."""
    script = resources.files("vshare.helpers").joinpath("web_servers.sh").read_text()
    script = script.replace("etc=/etc", f"etc={tmp_path}/etc")
    path = f"{tmp_path}/bin:/usr/bin:/bin"
    if bare:
        script = script.replace(":/usr/local/sbin:/usr/sbin:/sbin", "")
    done = subprocess.run(
        ["sh", "-s"],
        input=f"sudo=\nwhere={where}\n{script}".encode(),
        env={"PATH": path},
        stdout=subprocess.PIPE,
        timeout=20,
        check=False,  # nobody looks at its status
    )
    return parse_vhosts(done.stdout.decode())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "bin").mkdir()
    (tmp_path / "etc").mkdir()
    return tmp_path


def test_the_servers_are_asked(folder: Path) -> None:
    (folder / "nginx.txt").write_text(HOMESTEAD)
    (folder / "apache.txt").write_text(LIST)
    program(folder / "bin/nginx", f'[ "$*" = -T ] && cat {folder}/nginx.txt')
    program(folder / "bin/apache2ctl", f'[ "$*" = -S ] && cat {folder}/apache.txt')
    found = names(helper(folder, "here"))
    assert ("homestead.test", 443) in found
    assert ("www.drupalvm.test", 80) in found


def write(folder: Path, text: str) -> None:
    """The files of what `nginx -T` would print, below `folder`."""
    for part in text.split("# configuration file ")[1:]:
        path, _, content = part.partition(":\n")
        file = folder / path.removeprefix("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content.replace("/etc/", f"{folder}/etc/"))


def test_the_files_are_read_where_the_servers_do_not_answer(folder: Path) -> None:
    write(folder, DEBIAN + FILES)
    (folder / "etc/nginx/sites-available").mkdir()
    available = folder / "etc/nginx/sites-available/linked"
    available.write_text("server { server_name linked.test; }")
    (folder / "etc/nginx/sites-available/off.conf").write_text("server { server_name off.test; }")
    (folder / "etc/nginx/sites-enabled/linked").symlink_to(available)
    program(folder / "bin/nginx", "echo no rights >&2; exit 1")
    program(folder / "bin/apache2ctl", "exit 1")
    found = helper(folder, "here", bare=True)
    assert set(names(found)) > {
        ("linked.test", 80),
        ("shop.test", 8443),
        ("drupalvm.test", 443),
        ("www.drupalvm.test", 80),
    }
    assert not {"off.test", "not.included.test"} & {name for name, _ in names(found)}


def test_aliases_of_a_server_that_is_alone_are_in_the_files_that_the_list_names(
    folder: Path,
) -> None:
    file = folder / "one.conf"
    file.write_text(
        "<VirtualHost *:81>\nServerName one.test\nServerAlias two.test\n</VirtualHost>\n"
    )
    listed = f"VirtualHost configuration:\n*:81    one.test ({file}:1)"
    program(folder / "bin/apache2ctl", f"echo '{listed}'")
    assert names(helper(folder, "here")) == [("one.test", 81), ("two.test", 81)]


def test_containers_are_asked(folder: Path) -> None:
    (folder / "laradock.txt").write_text(LARADOCK)
    program(
        folder / "bin/docker",
        f'case $1 in ps) echo "4f2a {PORTS}"; echo "77 5432/tcp"; echo "99 0.0.0.0:1->1/tcp" ;;'
        f' exec) [ "$2" = 4f2a ] && cat {folder}/laradock.txt ;; esac',
    )
    assert ("app.test", 8080) in names(helper(folder, "containers"))


def test_a_machine_without_web_servers(folder: Path) -> None:
    assert helper(folder, "here", bare=True) == Vhosts()


def test_without_ssh() -> None:
    async def main() -> None:
        found = await find_vhosts(None, as_root=True)
        assert not found.hosts
        assert "SSH" in found.unknown

    run(main)


class _Link:
    """An SshLink that answers with what it is given."""

    def __init__(self, *answers: bytes | Exception | None) -> None:
        self._answers = list(answers)
        self.asked: list[bytes] = []

    async def run(self, command: str, *, stdin: bytes = b"") -> bytes:
        self.asked.append(stdin)
        answer = self._answers.pop(0)
        if answer is None:
            await asyncio.Event().wait()
        if isinstance(answer, Exception):
            raise answer
        assert isinstance(answer, bytes)
        return answer


def test_what_fails_leaves_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vhosts, "READ_WITHIN", 0.01)

    async def main() -> None:
        link = _Link(f"== nginx\n{HOMESTEAD}\xff".encode("latin-1"), None)
        found = await find_vhosts(link, as_root=True)  # type: ignore[arg-type]
        assert len(found.hosts) == 2
        assert not found.unknown
        assert all(each.startswith(b"sudo='sudo -n'\n") for each in link.asked)
        link = _Link(VshareError("no way"), VshareError("no way"))
        found = await find_vhosts(link, as_root=False)  # type: ignore[arg-type]
        assert found == Vhosts(unknown="no way")
        assert all(each.startswith(b"sudo=\n") for each in link.asked)

    run(main)


@pytest.mark.programs
@pytest.mark.skipif(NGINX is None, reason="no nginx is installed")
def test_a_real_nginx_over_ssh(tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    write(tmp_path, HOMESTEAD)
    conf = tmp_path / "etc/nginx/nginx.conf"
    temp = " ".join(
        f"{each}_temp_path {tmp_path}/{each};"
        for each in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    conf.write_text(
        f"pid {tmp_path}/pid; error_log stderr; events {{ }}"
        f" http {{ {temp} access_log off; include sites-enabled/*; }}"
    )
    site = tmp_path / "etc/nginx/sites-enabled/homestead.test"
    text = site.read_text().replace("listen 443 ssl http2", "listen 443")
    site.write_text("\n".join(line for line in text.split("\n") if "ssl_cert" not in line))
    program(programs / "nginx", f'exec {NGINX} -c {conf} "$@"')

    async def main() -> None:
        async with SshLink(sshd.access) as link:
            found = await find_vhosts(link, as_root=False)
        assert {("homestead.test", 80), ("homestead.test", 443)} <= set(names(found))

    with openssh(tmp_path, programs=f"{programs}:/usr/bin:/bin") as sshd:
        run(main)
