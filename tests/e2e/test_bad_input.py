"""What people get wrong, on hosts of the lab: one paragraph each, and an exit code that says so."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.demo import world
from tests.demo.world import Share
from tests.lab import Host, Lab
from tests.lab.vagrant import VAGRANTFILE

pytestmark = pytest.mark.e2e
PUBLIC_PORT = 8080  # in the URL only
WITHIN = 60.0  # seconds; Vagrant takes 5 to say what it has
ENV = {"VSHARE_RELAY": "relay.test:8443"}
TWO_MACHINES = """
Vagrant.configure("2") do |config|
  config.vm.box = "none"
  config.vm.define "web"
  config.vm.define "db"
end
"""


@pytest.fixture(scope="module")
def shared(lab: Lab) -> Iterator[Share]:
    target = ("--target", lab.services.ip, "--disable-http")
    with (
        world.relay(lab, PUBLIC_PORT) as address,
        world.share(lab.alice, address, lab.alice.home, *target) as share,
    ):
        yield share


def refused(host: Host, *command: str, cwd: Path | None = None) -> str:
    """Run a command that has to fail; what it said."""
    done = host.run(command, check=False, timeout=WITHIN, cwd=cwd, env=ENV)
    assert done.returncode in (1, 2), (done.returncode, done.stdout, done.stderr)
    said = done.stderr
    print(said)
    assert "Traceback" not in said
    assert said.count("error: ") == 1, said
    assert "hint: " in said
    return said[said.index("error: ") :]


def connect(host: Host, shared: Share, *options: str) -> str:
    code = host.tmp / "code"
    code.write_text(shared.code + "\n")
    try:
        return refused(host, "vconnect", "--code-file", str(code), *options, shared.connect)
    finally:
        code.unlink()


def test_a_host_without_libvirt(lab: Lab, shared: Share) -> None:
    host = lab.relay  # which never has a libvirtd
    assert not host.path("/run/libvirt/libvirt-sock").exists()
    said = connect(host, shared)
    for word in ("libvirt", "libvirt-daemon-system", "--disable-static-ip"):
        assert word in said


def test_a_static_ip_in_use(lab: Lab, shared: Share) -> None:
    lab.bob.start_libvirtd()
    said = connect(lab.bob, shared, "--static-ip", "10.22.0.77")
    assert "10.22.0.77 is in use" in said
    assert lab.bob.run(["virsh", "-q", "list", "--all"]).stdout.strip() == ""
    assert lab.bob.run(["virsh", "-q", "net-list", "--all"]).stdout.strip() == ""


@pytest.mark.parametrize("address", ["8.8.8.8", "nonsense", "172.16.0.0"])
def test_an_invalid_static_ip(lab: Lab, shared: Share, address: str) -> None:
    assert address in connect(lab.bob, shared, "--static-ip", address)


def test_a_machine_that_was_never_started(lab: Lab) -> None:
    lab.alice.start_libvirtd()
    folder = lab.alice.tmp / "halted"
    folder.mkdir()
    shutil.copy(VAGRANTFILE, folder / "Vagrantfile")
    said = refused(lab.alice, "vshare", "up", cwd=folder)
    assert "no machine is running: demo (not_created)" in said
    assert "vagrant up" in said


def test_two_machines_of_which_none_runs(lab: Lab) -> None:
    lab.alice.start_libvirtd()
    folder = lab.alice.tmp / "two"
    folder.mkdir()
    (folder / "Vagrantfile").write_text(TWO_MACHINES)
    said = refused(lab.alice, "vshare", "up", cwd=folder)
    assert "web (not_created), db (not_created)" in said
    assert "'nobody'" in refused(lab.alice, "vshare", "up", "nobody", cwd=folder)
    assert "'db' is not running" in refused(lab.alice, "vshare", "up", "db", cwd=folder)


def test_no_vagrantfile(lab: Lab) -> None:
    said = refused(lab.alice, "vshare", "up", cwd=lab.alice.tmp)
    assert "no Vagrantfile" in said
    assert "--target" in said
