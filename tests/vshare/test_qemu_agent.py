"""libvirt's test driver has no keys, so libvirt and the agent are played here, as a real pair was
seen to behave: libvirt 9.0, and qemu-guest-agent 7.2 in the demo machine."""

from __future__ import annotations

import asyncio
import re
import time
from types import SimpleNamespace

import pytest

from tests.loops import run
from tests.vshare.peers import tcp_server
from tunnel.errors import UsageError, VshareError
from vshare import find_libvirt
from vshare.key_place import OverAgent
from vshare.machine import SshAccess
from vshare.qemu_agent import QemuAgentKeys
from vshare.ssh_key import make_key

KEY = make_key("vshare-frosty-weasel-0857", None)
OTHERS = ["ssh-rsa AAAAB3 someone@home", "# a comment"]


UNRESPONSIVE = 86
NO_AGENT = "Guest agent is not responding: QEMU guest agent is not connected"


class LibvirtError(Exception):
    def get_error_code(self) -> int:
        return UNRESPONSIVE if str(self) == NO_AGENT else 1


class Domain:
    """One user's file, as the agent keeps it."""

    def __init__(self) -> None:
        self.lines = list(OTHERS)
        self.fails = ""
        self.calls = 0

    def authorizedSSHKeysGet(self, user: str, flags: int = 0) -> list[str]:
        self._check(user)
        if not self.lines:
            raise LibvirtError("failed to read '/home/bob/.ssh/authorized_keys'")
        return list(self.lines)

    def authorizedSSHKeysSet(self, user: str, keys: list[str], flags: int = 0) -> int:
        self._check(user)
        assert keys
        if flags == 1:
            self.lines += [each for each in keys if each not in self.lines]
        elif flags == 2:
            self.lines = [each for each in self.lines if each not in keys]
        else:
            raise AssertionError("that would replace every key of the user's")
        return 0

    def _check(self, user: str) -> None:
        self.calls += 1
        if self.fails or user != "bob":
            raise LibvirtError(self.fails or f"no user {user}")


@pytest.fixture
def domain(monkeypatch: pytest.MonkeyPatch) -> Domain:
    domain = Domain()
    look = lambda name: domain  # noqa: E731
    connection = SimpleNamespace(lookupByName=look, lookupByUUIDString=look, close=lambda: None)
    libvirt = SimpleNamespace(
        VIR_DOMAIN_AUTHORIZED_SSH_KEYS_SET_APPEND=1,
        VIR_DOMAIN_AUTHORIZED_SSH_KEYS_SET_REMOVE=2,
        VIR_ERR_AGENT_UNRESPONSIVE=UNRESPONSIVE,
        libvirtError=LibvirtError,
        registerErrorHandler=lambda *_: None,
        open=lambda uri: connection,
    )
    monkeypatch.setattr(find_libvirt, "_import_libvirt", lambda: libvirt)
    return domain


def test_a_key_comes_and_goes_and_others_stay(domain: Domain) -> None:
    async def main() -> None:
        place = QemuAgentKeys("demo", "bob")
        assert not await place.insert(KEY.public, time.time() + 600)  # no server to ask
        assert domain.lines == [*OTHERS, KEY.public]
        await place.remove(KEY.public)
        assert domain.lines == OTHERS
        await place.remove(KEY.public)

    run(main)


def test_a_user_without_a_file(domain: Domain) -> None:
    async def main() -> None:
        domain.lines = []
        place = QemuAgentKeys("demo", "bob")
        await place.remove(KEY.public)
        await place.insert(KEY.public, time.time() + 600)
        assert domain.lines == [KEY.public]
        await place.remove(KEY.public)
        assert domain.lines == []

    run(main)


def test_a_server_that_understands_it_is_told_the_time(domain: Domain) -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.2p1 Debian\r\n")
        await writer.drain()
        await reader.read()

    async def main() -> None:
        async with tcp_server(greet) as port:
            place = QemuAgentKeys("demo", "bob", SshAccess("127.0.0.1", port))
            for seconds in (600, 7200):  # the second one in place of the first
                assert await place.insert(KEY.public, time.time() + seconds)
                *others, ours = domain.lines
                assert others == OTHERS
                match = re.fullmatch(r'expiry-time="(\d{14})Z" (.*)', ours)
                assert match is not None
                assert match[2] == KEY.public
                at = time.strftime("%Y%m%d%H%M", time.gmtime(time.time() + seconds))
                assert abs(int(match[1][:12]) - int(at)) <= 1 or match[1][:10] != at[:10]
        # another run, which does not know the time that was given
        await QemuAgentKeys("demo", "bob").remove(KEY.public)
        assert domain.lines == OTHERS

    run(main)


def test_failures_say_what_the_domain_needs(domain: Domain) -> None:
    async def main() -> None:
        domain.fails = NO_AGENT
        with pytest.raises(VshareError, match="guest agent is not connected") as failure:
            await QemuAgentKeys("demo", "bob").insert(KEY.public, time.time() + 600)
        assert "qemu-guest-agent" in failure.value.hint
        assert domain.calls == 1  # each takes 5 s when the agent does not answer
        with pytest.raises(VshareError, match="guest agent is not connected"):
            await QemuAgentKeys("demo", "bob").remove(KEY.public)
        with pytest.raises(VshareError, match="is not known"):
            await QemuAgentKeys("demo", "bob").try_key(KEY, None)

    run(main)


@pytest.mark.parametrize("user", [None, ""])
def test_the_user_has_to_be_named(user: str | None) -> None:
    with pytest.raises(UsageError) as refused:
        QemuAgentKeys("demo", user)
    assert "--ssh-user" in refused.value.hint


def test_how_a_later_run_finds_the_domain() -> None:
    assert QemuAgentKeys("demo", "bob").where() == OverAgent("demo", "bob")


def test_libvirt_has_what_is_used() -> None:
    """With the real library and its test driver: names and flags are right, no driver is there."""
    libvirt = pytest.importorskip("libvirt")
    assert libvirt.VIR_DOMAIN_AUTHORIZED_SSH_KEYS_SET_APPEND == 1
    assert libvirt.VIR_DOMAIN_AUTHORIZED_SSH_KEYS_SET_REMOVE == 2
    assert libvirt.VIR_ERR_AGENT_UNRESPONSIVE == UNRESPONSIVE

    async def main() -> None:
        with pytest.raises(VshareError, match="not supported by the connection driver"):
            await QemuAgentKeys("test", "bob").insert(KEY.public, time.time() + 600)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LIBVIRT_DEFAULT_URI", "test:///default")
        run(main)
