from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from connect_vm import doctor
from connect_vm.addresses import AddressError
from connect_vm.doctor import local_steps
from tests.loops import run
from tunnel.doctor.finding import Finding, State, examine

pytestmark = pytest.mark.programs


async def local() -> dict[str, Finding]:
    return {each.name: each async for each in examine(local_steps())}


def test_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none_is_free() -> contextlib.AbstractContextManager[None]:
        raise AddressError("no static IP is free", "do")

    async def main() -> None:
        monkeypatch.setenv("LIBVIRT_DEFAULT_URI", "nonsense:///x")
        monkeypatch.setenv("VSHARE_IMAGES", str(tmp_path))
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        monkeypatch.setattr(doctor, "reserve", none_is_free)
        monkeypatch.setattr(doctor, "KVM", tmp_path / "kvm")
        found = await local()
        assert found.pop("KVM").state is State.WARNING  # emulation does it, too
        assert {each.state for each in found.values()} == {State.FAILED}
        assert "is not in" in found["connect VM image"].text
        for each in found.values():
            assert each.hint
        assert not any(each.ask for each in found.values())  # nothing is the network's fault

    run(main)


def test_kvm_that_is_something_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        monkeypatch.setattr(doctor, "KVM", Path("/dev/null"))
        assert "inappropriate ioctl" in (await doctor._kvm()).text
        monkeypatch.setattr(doctor, "kvm_is_broken", lambda: True)
        assert "was found not to run guests" in (await doctor._kvm()).text

    run(main)
