"""The connect VM for real: booted by each driver on a host of the lab, and used."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator

import pytest

from connect_vm import vm
from connect_vm.images import ImageError, find_image
from tests.e2e.connect_vm_check import PARALLEL
from tests.lab import Host, Lab

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root"),
    pytest.mark.skipif(shutil.which("libvirtd") is None, reason="needs libvirtd"),
]


@pytest.fixture(scope="module")
def bob() -> Iterator[Host]:
    try:
        find_image()
    except ImageError as error:
        pytest.skip(error.text)
    with Lab(("bob",)) as lab:
        lab.bob.start_libvirtd()
        # libvirt's packages make it; each host of the lab has a /var/lib/libvirt of its own
        (lab.bob.folder / "libvirt/lib/dnsmasq").mkdir(parents=True, exist_ok=True)
        yield lab.bob


@pytest.mark.parametrize("driver", vm.DRIVERS)
def test_static_ip_answers_as_the_shared_machine_would(bob: Host, driver: str) -> None:
    python = ["python", "-m"]
    services = [*python, "tests.e2e.connect_vm_services"]
    link = [*python, "tests.e2e.connect_vm_link"]
    env = {"VSHARE_IMAGES": str(find_image().folder), "DRIVER": driver}
    with bob.running(services) as server, bob.running(link, stderr=None, env=env) as vconnect:
        assert server.stdout is not None
        assert vconnect.stdout is not None
        assert server.stdout.readline() == "ready\n"
        facts = json.loads(vconnect.stdout.readline())
        check = [*python, "tests.e2e.connect_vm_check", facts["static_ip"]]
        size = os.environ.get("SIZE", "20000000")
        done = bob.run(check, timeout=240, env={"SIZE": size, "PARALLEL": str(PARALLEL)})
        facts.update(json.loads(done.stdout))
    print(json.dumps(facts))
    assert facts["parallel"] == PARALLEL
    assert facts["refused_ms"] < 250, "a closed port must not look slow"
    assert bob.run(["virsh", "-q", "list", "--all"]).stdout.strip() == ""
    assert bob.run(["virsh", "-q", "net-list", "--all"]).stdout.strip() == ""
    assert list(bob.tmp.iterdir()) == []
