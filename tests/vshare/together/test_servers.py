"""What `--serve` takes, and what serving a port opens."""

from __future__ import annotations

from typing import cast

import pytest

from tests.loops import run
from tests.share_pair import share_pair, tcp_service
from tests.vshare.test_rules import REDIS, WEB, found
from tunnel.ends import End
from tunnel.errors import RefusedError, UsageError
from tunnel.follow import Server
from tunnel.identity import Role
from vshare.machine import LOOPBACK
from vshare.neighbours import parse_cidr
from vshare.options import Options
from vshare.policy import Policy
from vshare.reach_direct import DirectReach
from vshare.rules import make_policy
from vshare.together.servers import parse_server, serve_port

NOTHING = Policy(names=frozenset({"m"}), only_ports=frozenset())


@pytest.mark.parametrize(
    ("text", "server"),
    [
        ("3000=web", Server("web", 3000)),
        ("3000", Server("3000", 3000)),
        ("1=a.b", Server("a.b", 1)),
    ],
)
def test_what_is_meant(text: str, server: Server) -> None:
    assert parse_server(text) == server


@pytest.mark.parametrize(
    "text", ["", "web", "web=3000", "0=web", "1=-x", "1=a b", "1=a=b", "1=\x1b"]
)
def test_what_cannot_be_meant(text: str) -> None:
    with pytest.raises(UsageError):
        parse_server(text)


def test_a_served_port_is_open_over_tcp_to_guests_alone() -> None:
    policy = serve_port(NOTHING, found(WEB), 8080)
    assert policy.decide(Role.GUEST, "tcp", "", 8080).port == 8080
    assert policy.rights(Role.GUEST) == ["tcp/8080"]
    assert policy.describe() == "port 8080"
    for role, protocol, port in (
        (Role.GUEST, "udp", 8080),
        (Role.GUEST, "tcp", 8081),
        (Role.GATEWAY, "tcp", 8080),
    ):
        with pytest.raises(RefusedError):
            policy.decide(role, protocol, "", port)


def test_a_neighbours_port_is_not_the_served_one() -> None:
    neighbours = Policy(
        names=frozenset({"m"}), only_ports=frozenset(), exposed=(parse_cidr("10.0.0.0/24"),)
    )
    policy = serve_port(neighbours, found(WEB), 8080)
    with pytest.raises(RefusedError, match="is not shared"):
        policy.decide(Role.GUEST, "tcp", "10.0.0.5", 8080)


def test_nothing_but_what_is_served() -> None:
    policy = make_policy(Options(only_served=True), found(WEB), only_loopback=False)
    with pytest.raises(RefusedError, match=r"not shared; shared are port 80$"):  # it has the URL
        policy.decide(Role.GUEST, "tcp", "", 8080)


def test_what_listens_on_the_loopback_is_served_there() -> None:
    policy = serve_port(NOTHING, found(REDIS, WEB), 6379)
    assert policy.decide(Role.GUEST, "tcp", "", 6379).host == LOOPBACK
    assert serve_port(NOTHING, found(REDIS, WEB), 8080).loopback_ports == frozenset()


def test_fenced_ports_stay_closed() -> None:
    fenced = Policy(names=frozenset({"m"}), fenced={6379: "Redis without a password"})
    with pytest.raises(UsageError, match="Redis without a password; the sharer can open it"):
        serve_port(fenced, found(REDIS), 6379)


def test_taken_back_while_it_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with share_pair() as pair, tcp_service() as port, pair.client() as client:
            reach = pair.streams._reach

            async def slow(host: str, port: int) -> End:
                machine = await DirectReach.open_tcp(cast(DirectReach, reach), host, port)
                pair.streams.policy = NOTHING
                return machine

            monkeypatch.setattr(reach, "open_tcp", slow)
            with pytest.raises(RefusedError, match="is not shared"):
                await client.open("", port)

    run(main)
