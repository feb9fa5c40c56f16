"""Networks as they are: IPv6 alone, half-broken dual stack, MTU 1280, firewalls, proxies, NATs."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from tests.demo.program import started
from tests.e2e import lab_networks as net
from tests.lab import Host, Lab
from tests.lab.plan import UPLINK

pytestmark = pytest.mark.e2e
WITHIN = 60.0  # seconds for one command
NAT_FORGETS = 25  # seconds: earlier than those that were met
NO_ENV: Mapping[str, str] = {}


@pytest.fixture(scope="module")
def networks() -> Iterator[Lab]:
    """A lab of these tests' own, since they change its routes and rules; IPv6 in it."""
    with Lab(("relay", "alice", "services", "bob")) as lab:
        net.add_ipv6(lab)
        net.name(lab, "relay6.test", net.RELAY_IP6)
        net.name(lab, "both.test", net.RELAY_IP6, lab.relay.ip)
        with net.service(lab.services):
            yield lab


@pytest.fixture(scope="module")
def pin(networks: Lab) -> Iterator[str]:
    """The relay, on port 443 of both families, and its pin."""
    with net.relay(networks) as found:
        yield found


@contextmanager
def joined(
    lab: Lab,
    sharer: tuple[Host, str, Mapping[str, str]],
    guest: tuple[Host, str, Mapping[str, str]],
) -> Iterator[tuple[str, str]]:
    """A share of `services` and a guest, each: host, the relay as it calls it, environment.

    Yields the guest's SOCKS address and the share's name.
    """
    host, relay, env = sharer
    command = ["vshare", "up", "--json", "--relay", relay, "--disable-http"]
    command += ["--target", lab.services.ip]
    with started(host, command, cwd=host.home, env=env) as share:
        event = share.wait_for("started", WITHIN)
        host, relay, env = guest
        code = net.code_file(host, event["code"])
        line = f"{event['name']}@{relay}"
        command = ["vconnect", "--json", "--disable-static-ip", "--code-file", str(code), line]
        with started(host, command, env=env) as connection:
            yield connection.wait_for("socks", WITHIN)["address"], event["name"]


def doctor(
    host: Host, program: str, relay: str, env: Mapping[str, str] = NO_ENV
) -> tuple[bool, dict[str, list[dict[str, Any]]], str]:
    """Whether all the network is well, what was found by step, what to tell the administrator."""
    done = host.run([program, "doctor", "--relay", relay, "--json"], check=False, env=env)
    print(done.stdout, done.stderr)
    *steps, verdict = map(json.loads, done.stdout.splitlines())
    found: dict[str, list[dict[str, Any]]] = {}
    for step in steps:
        found.setdefault(step["name"], []).append(step)
    local = {"KVM", "libvirt", "connect VM image", "static IP", "Vagrant"}
    well = not any(step["state"] == "failed" for step in steps if step["name"] not in local)
    return well, found, verdict["tell"]


def test_a_relay_with_ipv6_alone(networks: Lab, pin: str) -> None:
    """By literal and by name; the other side comes by IPv4 to the same listener."""
    literal, named = f"[{net.RELAY_IP6}]:443#{pin}", f"relay6.test#{pin}"
    fours = f"{networks.relay.ip}:443#{pin}"
    for here, there in ((literal, named), (named, fours)):
        with joined(
            networks, (networks.alice, here, NO_ENV), (networks.bob, there, NO_ENV)
        ) as link:
            net.check_transfers(networks.bob, *link)
    well, found, _ = doctor(networks.alice, "vshare", named)
    assert well
    assert "IPv4 none" in found["name resolution"][0]["text"]


def test_a_relay_by_its_link_local_address(networks: Lab, pin: str) -> None:
    here = net.router(networks, "alice")  # which is on the same link
    relay = f"[{net.RELAY_LINK_LOCAL}%{UPLINK}]:443#{pin}"
    assert doctor(here, "vshare", relay)[0]
    guest = (networks.bob, f"both.test#{pin}", NO_ENV)
    with joined(networks, (here, relay, NO_ENV), guest) as link:
        net.check_transfers(networks.bob, *link)


def test_ipv6_is_a_black_hole(networks: Lab, pin: str) -> None:
    relay = f"both.test#{pin}"
    hole = "chain in { type filter hook input priority 0; meta nfproto ipv6 tcp dport 443 drop; }"
    with net.nft(networks.relay, hole):
        began = time.monotonic()
        with joined(
            networks, (networks.alice, relay, NO_ENV), (networks.bob, relay, NO_ENV)
        ) as link:
            print(f"share and guest were up after {time.monotonic() - began:.1f} s")
            net.check_transfers(networks.bob, *link)
        well, found, _ = doctor(networks.alice, "vshare", relay)
        assert well
        assert {step["state"] for step in found["TCP connection"]} == {"ok", "warning"}


def test_mtu_1280(networks: Lab, pin: str) -> None:
    relay = f"relay.test#{pin}"
    with net.narrow(networks, 1280):
        for each in (relay, f"relay6.test#{pin}"):
            with joined(
                networks, (networks.alice, each, NO_ENV), (networks.bob, each, NO_ENV)
            ) as link:
                net.check_transfers(networks.bob, *link)
        well, found, _ = doctor(networks.alice, "vshare", relay)
        assert well
        assert "path MTU 1280" in found["large packets"][0]["text"]


def test_what_says_that_packets_are_too_large_is_lost(networks: Lab, pin: str) -> None:
    relay = f"relay.test#{pin}"
    mute = """chain out { type filter hook output priority 0;
        icmp type destination-unreachable drop; }"""
    with (
        net.narrow(networks, 1280),
        net.nft(net.router(networks, "alice"), mute),
    ):
        well, found, tell = doctor(networks.alice, "vshare", relay)
    assert not well
    assert found["relay"][0]["state"] == "ok"
    assert found["large packets"][0]["state"] == "failed"
    assert "ICMP" in tell


def test_port_443_is_the_only_way_out(networks: Lab, pin: str) -> None:
    relay = f"relay.test:443#{pin}"
    with (
        net.nft(net.router(networks, "alice"), net.only("443")),
        net.nft(net.router(networks, "bob"), net.only("443")),
    ):
        with joined(
            networks, (networks.alice, relay, NO_ENV), (networks.bob, relay, NO_ENV)
        ) as link:
            net.check_transfers(networks.bob, *link)
        assert doctor(networks.bob, "vconnect", relay)[0]
        well, found, tell = doctor(networks.bob, "vconnect", f"relay.test:8443#{pin}")
        assert not well
        assert "something drops the packets" in found["TCP connection"][0]["text"]
        assert "203.0.113.10:8443" in tell


def test_proxies_are_the_only_way_out(networks: Lab, pin: str) -> None:
    """The sharer through Dante (SOCKS5), the guest through tinyproxy with a password (CONNECT)."""
    relay = f"relay.test:443#{pin}"
    alice, bob = networks.alice, networks.bob
    ways = net.router(networks, "alice"), net.router(networks, "bob")
    with (
        net.nft(ways[0], net.only("")),
        net.nft(ways[1], net.only("")),
        net.dante(ways[0], "10.21.0.1") as socks,
        net.tinyproxy(ways[1], "10.22.0.1", "BasicAuth bob sesame") as http,
    ):
        assert not doctor(alice, "vshare", relay)[0]  # there is no other way
        by_socks = {"ALL_PROXY": f"socks5h://{socks}"}
        by_http = {"https_proxy": f"http://bob:sesame@{http}"}
        with joined(networks, (alice, relay, by_socks), (bob, relay, by_http)) as link:
            net.check_transfers(bob, *link)
        with joined(
            networks, (alice, relay, {"all_proxy": f"socks5://{socks}"}), (bob, relay, by_http)
        ) as link:
            net.check_transfers(bob, *link)
        assert doctor(alice, "vshare", relay, by_socks)[0]
        assert doctor(bob, "vconnect", relay, by_http)[0]
        _, found, _ = doctor(bob, "vconnect", relay, {"https_proxy": f"http://{http}"})
        assert "wants a user and a password" in found["proxy"][0]["text"]
        _, found, tell = doctor(bob, "vconnect", f"relay.test:8443#{pin}", by_http)
        assert "does not allow connections to relay.test:8443" in found["proxy"][0]["text"]
        assert "has to allow CONNECT to relay.test:8443" in tell
        _, found, tell = doctor(alice, "vshare", f"relay.test:8443#{pin}", by_socks)
        assert "not allowed by ruleset" in found["proxy"][0]["text"]


def test_a_nat_that_forgets(networks: Lab, pin: str) -> None:
    """Connections that nobody uses stay known to a NAT that forgets after some seconds."""
    way = net.router(networks, "bob")
    seconds = f"net.netfilter.nf_conntrack_tcp_timeout_established={NAT_FORGETS}"
    way.run(["sysctl", "-qw", seconds, "net.netfilter.nf_conntrack_tcp_loose=0"])
    relay = f"relay.test:443#{pin}"
    guest = (networks.bob, relay, NO_ENV)
    with joined(networks, (networks.alice, relay, NO_ENV), guest) as (socks, name):
        before = net.established(networks.bob)
        assert before
        time.sleep(NAT_FORGETS * 2)  # what is waited for is that nothing happens
        after = net.established(networks.bob)
        assert after
        assert after <= before  # the pool may have shrunk; none was dialled again
        net.check_transfers(networks.bob, socks, name)
