"""UDP for real: DNS, QUIC, iperf3 and large datagrams, at the static IP and through SOCKS."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from subprocess import Popen
from typing import Any

import pytest

from connect_vm.images import ImageError, find_image
from tests.lab import Host, Lab
from tests.soak.judge import RECOVERS
from tests.soak.world import World, world

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timed,
    pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root"),
    pytest.mark.skipif(shutil.which("libvirtd") is None, reason="needs libvirtd"),
]

ECHO, DNS, QUIC, IPERF, CLOSED = 5005, 5353, 5443, 5201, 5009
TXT = [f"part-{number:03}-" + "x" * 230 for number in range(12)]  # 3 kB
BACK_WITHIN = RECOVERS + 1.0  # seconds from the relay's return to an answer; emulation takes one
PATIENCE = 30.0  # seconds for what takes no time where nobody else is busy
WAYS = ("static IP", "SOCKS")
PYTHON = ("python", "-m")


@pytest.fixture(scope="module")
def made() -> Iterator[World]:
    try:
        find_image()
    except ImageError as error:
        pytest.skip(error.text)
    with Lab(("relay", "alice", "services", "bob")) as lab, ExitStack() as stack:
        (lab.bob.folder / "libvirt/lib/dnsmasq").mkdir(parents=True, exist_ok=True)
        serve(lab.services, stack)
        yield stack.enter_context(world(lab, static_ip=True))


def serve(host: Host, stack: ExitStack) -> None:
    """The machine's services, by UDP; iperf3 listens for TCP as well."""
    for module, port in (("tests.e2e.udp_service", ECHO), ("tests.quic", QUIC)):
        place = ["serve"] * (port == QUIC) + [host.ip, str(port)]
        process = stack.enter_context(host.running([*PYTHON, module, *place], stderr=None))
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    config = host.tmp / "dnsmasq.conf"
    lines = [
        "no-daemon", "no-resolv", "no-hosts", "bind-interfaces", f"listen-address={host.ip}",
        f"port={DNS}", "edns-packet-max=4096", "pid-file=", "user=root",
        *(f"address=/host{number}.test/10.9.0.{number}" for number in range(50)),
        *(f"txt-record=long.test,{text}" for text in TXT),
    ]  # fmt: skip
    config.write_text("\n".join(lines) + "\n")
    stack.enter_context(host.running(["dnsmasq", "-C", str(config)]))
    stack.enter_context(host.running(["iperf3", "-s", "-p", str(IPERF)]))


@contextmanager
def way_to(made: World, way: str, port: int) -> Iterator[tuple[str, int]]:
    """Where bob's programs find a port of the machine."""
    assert made.link is not None
    assert made.share is not None
    if way == "static IP":
        yield made.link.ip, port
        return
    command = [*PYTHON, "tests.udp_forwarder", made.link.socks, made.share.name, str(port)]
    with made.lab.bob.running(command, stderr=None) as process:
        assert process.stdout is not None
        yield "127.0.0.1", int(process.stdout.readline())


@pytest.mark.parametrize("way", WAYS)
def test_boundaries_are_kept_whatever_the_size(made: World, way: str) -> None:
    with way_to(made, way, ECHO) as (host, port):
        made.lab.bob.run([*PYTHON, "tests.e2e.udp_client", "sizes", host, str(port)])


def test_a_closed_port_is_told_at_the_static_ip(made: World) -> None:
    with way_to(made, "static IP", CLOSED) as (host, port):
        made.lab.bob.run([*PYTHON, "tests.e2e.udp_client", "refused", host, str(port)])


@pytest.mark.parametrize("way", WAYS)
def test_dns(made: World, way: str) -> None:
    bob = made.lab.bob
    with way_to(made, way, DNS) as (host, port):
        dig = ["dig", f"@{host}", "-p", str(port), "+tries=2", "+time=5"]
        assert bob.run([*dig, "+short", "host7.test"]).stdout == "10.9.0.7\n"
        assert bob.run([*dig, "+tcp", "+short", "host8.test"]).stdout == "10.9.0.8\n"
        long = bob.run([*dig, "+bufsize=4096", "+ignore", "long.test", "TXT"]).stdout
        assert all(text in long for text in TXT)
        one = " ".join([*dig, "+short", "host$n.test"])
        many = bob.run(["sh", "-c", f"for n in $(seq 0 49); do {one} & done; wait"]).stdout
        assert sorted(many.split()) == sorted(f"10.9.0.{number}" for number in range(50))


@pytest.mark.parametrize("way", WAYS)
def test_quic(made: World, way: str) -> None:
    with way_to(made, way, QUIC) as (host, port):
        command = [*PYTHON, "tests.quic", "fetch", host, str(port), "1000000"]
        print(way, made.lab.bob.run(command).stdout)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("direction", ["up", "down"])
def test_iperf3(made: World, way: str, direction: str) -> None:
    reverse = ["-R"] if direction == "down" else []
    with way_to(made, way, IPERF) as (host, port):
        command = ["iperf3", "-c", host, "-p", str(port), "-u", "-b", "4M", "-t", "2", "-l", "1400"]
        said = json.loads(made.lab.bob.run([*command, "--json", *reverse]).stdout)
    total = said["end"]["sum"]
    print(way, direction, total)
    assert total["packets"] > 500
    assert total["lost_percent"] < 10


@pytest.mark.parametrize("way", WAYS)
def test_a_flow_outlives_the_relay(made: World, way: str) -> None:
    """One socket all the time, on both sides."""
    with way_to(made, way, ECHO) as (host, port):
        command = [*PYTHON, "tests.e2e.udp_client", "talk", host, str(port)]
        with made.lab.bob.running(command, stderr=None) as process:
            first = answer(process, lambda found: isinstance(found[1], int))
            made.kill_relay()
            answer(process, lambda found: found[1:] == ["TimeoutError"])
            made.start_relay()
            back = time.monotonic()
            second = answer(process, lambda found: isinstance(found[1], int) and found[0] > back)
    print(way, "answers again after", round(second[0] - back, 2), "s")
    assert second[1] == first[1], "the machine sees another source port"
    assert second[0] - back < BACK_WITHIN


def answer(process: Popen[str], wanted: Callable[[list[Any]], bool]) -> list[Any]:
    """The next line of `talk` that is as wanted."""
    assert process.stdout is not None
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        found = json.loads(process.stdout.readline())
        assert found[1] != "ConnectionRefusedError"
        if wanted(found):
            return list(found)
    raise AssertionError("it does not come")


def test_what_is_dropped_is_counted_and_told(made: World) -> None:
    assert made.share is not None
    assert made.link is not None
    with way_to(made, "static IP", IPERF) as (host, port):
        flood = ["iperf3", "-c", host, "-p", str(port), "-u", "-b", "400M", "-t", "2", "-l", "1400"]
        made.lab.bob.run([*flood, "--json", "-R"])
    guests = made.lab.alice.run(["vshare", "guests", "--json"]).stdout
    row = json.loads(guests)["guests"][0]
    made.link.program.interrupt()
    told = made.link.program.wait_for("datagrams", PATIENCE)
    print(row["dropped"], told)
    assert row["dropped"] >= 0
    assert told["dropped"] + row["dropped"] > 0
    assert told["received"] > 1000
