from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace

import pytest

from tunnel.errors import VshareError
from vshare import find_libvirt
from vshare.find_libvirt import (
    domain_address,
    find,
    find_address,
    find_addresses,
    pick_address,
)

MAC = "52:54:00:aa:bb:cc"
XML = f"<domain><devices><interface><mac address='{MAC.upper()}'/></interface></devices></domain>"
LEASE = {"vnet0": {"addrs": [{"addr": "192.0.2.5", "prefix": 24, "type": 0}], "hwaddr": MAC}}
# What a guest agent says of a machine that runs Docker.
AGENT: dict[str, dict[str, object]] = {
    "lo": {"addrs": [{"addr": "127.0.0.1"}], "hwaddr": "00:00:00:00:00:00"},
    "docker0": {"addrs": [{"addr": "198.51.100.1"}], "hwaddr": "02:42:00:00:00:01"},
    "enp1s0": {
        "addrs": [{"addr": "fe80::1"}, {"addr": "2001:db8::5"}, {"addr": "192.0.2.6"}],
        "hwaddr": MAC,
    },
    "down": {"addrs": None, "hwaddr": MAC},
}


class LibvirtError(Exception):
    pass


LIBVIRT = SimpleNamespace(
    VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_LEASE=0,
    VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_AGENT=1,
    VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_ARP=2,
    libvirtError=LibvirtError,
)


class Known:
    """A domain that the sources know different things about."""

    def __init__(self, *answers) -> None:  # type: ignore[no-untyped-def]
        self.answers = answers

    def XMLDesc(self) -> str:
        return XML

    def interfaceAddresses(self, source: int):  # type: ignore[no-untyped-def]
        if self.answers[source] is None:
            raise LibvirtError("not here")
        return self.answers[source]


@pytest.mark.parametrize(
    ("answers", "address"),
    [
        ((LEASE, None, None), "192.0.2.5"),
        (({}, AGENT, LEASE), "192.0.2.6"),
        ((None, None, LEASE), "192.0.2.5"),
        ((None, None, {}), None),
    ],
)
def test_the_sources_are_asked_in_turn(answers, address) -> None:  # type: ignore[no-untyped-def]
    assert domain_address(LIBVIRT, Known(*answers)) == address  # type: ignore[arg-type]


def test_only_what_the_host_connects_to_counts() -> None:
    assert pick_address(AGENT, {MAC}) == "192.0.2.6"
    assert pick_address(AGENT, {"52:54:00:00:00:00"}) is None
    rubbish: dict[str, dict[str, object]] = {"x": {"addrs": [{"addr": "x"}, 7], "hwaddr": MAC}}
    assert pick_address(rubbish, {MAC}) is None


def test_the_real_library_without_a_daemon(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("libvirt")
    monkeypatch.setenv("LIBVIRT_DEFAULT_URI", "qemu+unix:///system?socket=/nonexistent/socket")
    with pytest.raises(VshareError, match="no connection to libvirt") as caught:
        asyncio.run(find("web"))
    assert "virsh" in caught.value.hint
    assert asyncio.run(find_address("web")) is None


def test_the_real_library_with_its_test_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    """libvirt's test:///default has a running domain `test`, which has no leases."""
    pytest.importorskip("libvirt")
    monkeypatch.setenv("LIBVIRT_DEFAULT_URI", "test:///default")
    with pytest.raises(VshareError, match="no domain 'web'") as caught:
        asyncio.run(find("web"))
    assert "test" in caught.value.hint
    machine = asyncio.run(find("test"))  # the driver makes a lease up
    assert (machine.name, machine.state) == ("test", "running")
    assert machine.address is not None
    assert asyncio.run(find_address("test")) == machine.address


def test_a_domain_that_is_off(monkeypatch: pytest.MonkeyPatch) -> None:
    libvirt = pytest.importorskip("libvirt")
    monkeypatch.setenv("LIBVIRT_DEFAULT_URI", "test:///default")
    opened = libvirt.open

    def with_it_off(uri: str):  # type: ignore[no-untyped-def]
        connection = opened(uri)
        domain = connection.lookupByName("test")
        if domain.isActive():
            domain.destroy()
        return connection

    monkeypatch.setattr(libvirt, "open", with_it_off)
    with pytest.raises(VshareError, match="is not running") as caught:
        asyncio.run(find("test"))
    assert "virsh start test" in caught.value.hint
    assert asyncio.run(find_addresses("test")) is None
    connection = opened("test:///default")
    connection.lookupByName("test").create()
    connection.close()


def test_no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "libvirt", None)
    with pytest.raises(VshareError, match="libvirt-python is not installed"):
        asyncio.run(find_libvirt.find("web"))


def test_a_call_that_never_ends_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """A guest agent can hang in mid-conversation. Ctrl-C ends vshare even so."""
    asked, answer, answered = threading.Event(), threading.Event(), threading.Event()

    def hang(uri: str) -> None:
        asked.set()
        answer.wait(20)
        answered.set()
        raise LibvirtError("too late")

    libvirt = SimpleNamespace(
        libvirtError=LibvirtError, registerErrorHandler=lambda *_: None, open=hang
    )
    monkeypatch.setattr(find_libvirt, "_import_libvirt", lambda: libvirt)
    monkeypatch.setattr(find_libvirt, "LIBVIRT_TIMEOUT_SECONDS", 0.1)
    with pytest.raises(VshareError, match="did not answer"):
        asyncio.run(find("web"))
    assert asked.is_set()
    assert not answered.is_set()
    (thread,) = [each for each in threading.enumerate() if each.name == "libvirt: web"]
    assert thread.daemon
    answer.set()
    thread.join(20)  # nobody is left to be told, and nothing is said about it
