"""The lab for the end-to-end tests: one for the session."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import Host, Lab, services
from tunnel.errors import VshareError

MANDATORY = "VSHARE_E2E"
"""Set by `tox -e e2e`: a lab that cannot be had is then a failure and not a reason to skip."""


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """Hosts on different networks (see tests.lab); skips where the machine cannot have them."""
    entered = Lab()
    try:
        if os.geteuid() != 0:
            raise VshareError("the end-to-end tests need root, for network namespaces")
        entered.__enter__()
    except VshareError as error:
        if os.environ.get(MANDATORY) == "1":
            raise
        pytest.skip(f"{error.text}; {error.hint}".rstrip("; "))
    yield entered
    entered.close()


@pytest.fixture(scope="session")
def services_host(lab: Lab) -> Host:
    """The host beside alice, whose services are started once."""
    services.start(lab.services)
    return lab.services


@pytest.fixture(scope="session")
def alice_machine(lab: Lab) -> Path:
    """The folder of the Vagrantfile of alice's running machine, which is booted once."""
    return lab.alice.vagrant_up()
