from __future__ import annotations

import asyncio
import shutil
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.vshare.peers import openssh
from tests.vshare.test_reach_ssh import only
from vshare.listening import Listener, Listening, find_listeners, parse_listeners
from vshare.ssh_link import SshLink

# As printed by iproute2 6.1 and Linux 6.12.
SS = """\
== ss
udp   UNCONN 0      0            0.0.0.0:68        0.0.0.0:*    users:(("dhclient",pid=411,fd=7))
udp   UNCONN 0      0      127.0.0.53%lo:53        0.0.0.0:*    users:(("resolved",pid=3,fd=1))
tcp   LISTEN 0      4096       127.0.0.1:5432      0.0.0.0:*    users:(("postgres",pid=9,fd=5))
tcp   LISTEN 0      128          0.0.0.0:22        0.0.0.0:*    users:(("sshd",pid=5,fd=3))
tcp   LISTEN 0      128             [::]:22           [::]:*    users:(("sshd",pid=5,fd=4))
tcp   LISTEN 0      511                *:8000            *:*
tcp   LISTEN 0      5              [::1]:631          [::]:*    users:(("cups\x1b[31m",pid=1,fd=2))
tcp   LISTEN 0      5              [::1]:99999        [::]:*
nonsense
"""
PROC = """\
== tcp
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:0CEA 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1001 1 x
   1: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1002 1 x
   2: 0100007F:0050 0100007F:C350 01 00000000:00000000 00:00000000 00000000     0        0 1003 1 x
== tcp6
   0: 00000000000000000000000000000000:0016 00000000000000000000000000000000:0000 0A 0:0 00:0 0 \
    0        0 1004 1
   1: 00000000000000000000000001000000:1F90 00000000000000000000000000000000:0000 0A 0:0 00:0 0 \
    0        0 1005 1
== udp
  57: 00000000:0035 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 1006 2 x
  58: 0100007F:1234 0100007F:0035 01 00000000:00000000 00:00000000 00000000     0        0 1007 2 x
== udp6
== fd
1002 nginx
1002 nginx-worker
1004 dropbear
x y
"""


def test_what_ss_prints() -> None:
    found = parse_listeners(SS)
    assert Listener("tcp", 5432, "127.0.0.1", "postgres") in found
    assert Listener("udp", 53, "127.0.0.53", "resolved") in found
    assert Listener("tcp", 8000, "::", "") in found
    assert Listener("tcp", 631, "::1", "cups[31m") in found
    assert len(found) == 7
    assert Listening(found).open_ports("tcp") == (22, 8000)
    assert Listening(found).open_ports("udp") == (68,)


def test_what_proc_prints() -> None:
    found = parse_listeners(PROC)
    assert found == (
        Listener("tcp", 22, "::", "dropbear"),
        Listener("tcp", 80, "0.0.0.0", "nginx"),
        Listener("tcp", 3306, "127.0.0.1", ""),
        Listener("tcp", 8080, "::1", ""),
        Listener("udp", 53, "0.0.0.0", ""),
    )
    assert Listening(found).open_ports("tcp") == (22, 80)


@given(st.text(alphabet='== tcpsu6fd\n0123456789ABCDEF:[]*%()."users, \x00é', max_size=400))
def test_any_output_is_taken(text: str) -> None:
    for section in ("ss", "tcp", "udp6", "fd"):
        parse_listeners(f"== {section}\n{text}")


@pytest.mark.programs
@pytest.mark.parametrize("with_ss", [True, False])
def test_a_real_machine(tmp_path: Path, with_ss: bool) -> None:
    """`ss` and /proc agree on our own sockets."""
    if with_ss and not shutil.which("ss", path="/usr/bin:/bin:/usr/sbin:/sbin"):
        pytest.skip("no ss here")
    programs = "" if with_ss else only(tmp_path, "cat", "ls", "sed", "false")
    if not with_ss:  # an `ss` that fails, because the script looks into /usr/sbin itself
        (Path(programs) / "false").rename(Path(programs) / "ss")

    name = Path("/proc/self/comm").read_text().strip()

    async def main() -> None:
        async with SshLink(sshd.access) as link:
            found = await find_listeners(link, as_root=False)
            assert found.unknown == ""
            mine = {(each.protocol, each.port): each for each in found.listeners}
            assert mine["tcp", tcp.getsockname()[1]].loopback_only
            assert mine["tcp", tcp.getsockname()[1]].process == name
            assert mine["udp", udp.getsockname()[1]].process == name
            assert mine["tcp", wide.getsockname()[1]].address == "::"
            assert wide.getsockname()[1] in found.open_ports("tcp")
            assert ("tcp", sshd.access.port) in mine

    with (
        socket.create_server(("127.0.0.1", 0)) as tcp,
        socket.create_server(("::", 0), family=socket.AF_INET6) as wide,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
        openssh(tmp_path, programs=programs) as sshd,
    ):
        udp.bind(("127.0.0.1", 0))
        asyncio.run(main())


def test_without_ssh_it_says_why() -> None:
    found = asyncio.run(find_listeners(None, as_root=False))
    assert found.listeners == ()
    assert "SSH" in found.unknown
