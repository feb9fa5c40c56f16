"""One guest's handover of the SSH key in another guest's hands: the relay's ally has joined too."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.loops import run, until
from tests.share_pair import NAME, Pair, share_pair
from tests.vshare.ssh_machine import SshMachine, ssh_machine
from tunnel.client import Client
from tunnel.codes import Code
from tunnel.errors import RefusedError
from tunnel.identity import Identity, Role, fingerprint
from tunnel.key_handover import PROTOCOL, GuestHandover, HandoverSealed
from tunnel.pake import parse_or_raise
from tunnel.stream_messages import StreamMessages
from vshare import ssh_key
from vshare.authorized_keys import AuthorizedKeys
from vshare.guests import Guest
from vshare.news import Newsroom
from vshare.policy import Policy
from vshare.ssh_key import make_key
from vshare.ssh_link import SshLink
from vshare.ssh_sharing import SshSharing

PASSWORD = "correct-horse"


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshMachine]:
    with ssh_machine(tmp_path_factory.mktemp("machine")) as machine:
        yield machine


@dataclass
class Visit:
    """One guest: its client, and how the share sees it."""

    identity: Identity
    client: Client
    guest: Guest

    def has_key(self) -> bool:
        return self.guest.has_ssh_key

    async def ask(self) -> StreamMessages:
        return StreamMessages(await self.client.open_special(PROTOCOL))

    def handover(self, pair: Pair, password: str = PASSWORD) -> GuestHandover:
        ours = hashlib.sha256(self.identity.certificate).digest()
        theirs = hashlib.sha256(pair.share_identity.certificate).digest()
        return GuestHandover(password, ours, theirs, os.urandom)


@dataclass
class Scene:
    """A share with SSH, Alice who knows its password, and Mallory who does not."""

    pair: Pair
    ssh: SshSharing
    alice: Visit
    mallory: Visit
    port: int

    async def mallory_has_nothing(self, tries: int) -> None:
        """Neither the key nor the port; and so many of her tries are spent."""
        assert not self.mallory.has_key()
        with pytest.raises(RefusedError) as caught:
            await self.mallory.client.open("", self.port)
        assert caught.value.code is Code.NOT_ALLOWED
        assert self.ssh._tries.left(self.mallory.guest.fingerprint) == 3 - tries


@contextlib.asynccontextmanager
async def scene(
    machine: SshMachine, notes: Path, monkeypatch: pytest.MonkeyPatch, *, once: bool = False
) -> AsyncIterator[Scene]:
    monkeypatch.setattr(ssh_key, "KDF_ROUNDS", 1)
    port = machine.access.port or 22
    rules = Policy(names=frozenset({NAME}), ssh_ports=frozenset({port}), ssh_shared=True)
    async with SshLink(machine.access) as link, contextlib.AsyncExitStack() as stack:
        ssh = SshSharing(
            make_key("test", PASSWORD),
            PASSWORD,
            AuthorizedKeys(link),
            Newsroom(),
            port=port,
            expires_at=time.time() + 600,
            once=once,
            notes=notes,
        )
        pair = await stack.enter_async_context(share_pair(rules, ssh=ssh))
        await stack.enter_async_context(ssh)
        ssh.share_fingerprint = fingerprint(pair.share_identity.certificate)
        visits = []
        for number in range(2):
            identity = pair.identity()
            client = await stack.enter_async_context(Client(pair.dial, identity, NAME))
            visits.append(Visit(identity, client, pair.guests.of_role(Role.GUEST)[number]))
        yield Scene(pair, ssh, visits[0], visits[1], port)


def test_a_recorded_handover_is_replayed(
    machine: SshMachine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with scene(machine, tmp_path, monkeypatch) as made:
            alices = await made.alice.ask()
            handover = made.alice.handover(made.pair)
            first = handover.first()
            alices.send(first)
            third = handover.second(await alices.receive())
            alices.send(third)
            assert handover.finish(await alices.receive()).private_key
            alices.close()
            assert made.alice.has_key()

            mallorys = await made.mallory.ask()
            mallorys.send(first)
            await mallorys.receive()
            mallorys.send(third)
            with pytest.raises(RefusedError) as caught:
                parse_or_raise(HandoverSealed, await mallorys.receive())
            assert caught.value.code is Code.WRONG_CODE
            mallorys.close()
            await made.mallory_has_nothing(tries=1)

    run(main)


def test_a_one_time_key_is_used_again(
    machine: SshMachine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its guest, who keeps it, and by another one who is given it: it is out of the machine."""

    async def main() -> None:
        async with scene(machine, tmp_path, monkeypatch, once=True) as made:
            messages = await made.alice.ask()
            handover = made.alice.handover(made.pair)
            messages.send(handover.first())
            messages.send(handover.second(await messages.receive()))
            assert handover.finish(await messages.receive()).once
            messages.close()
            assert machine.keys
            (await made.alice.client.open("", made.port)).reset(Code.CLOSED)
            async with asyncio.timeout(5):
                await until(lambda: not made.alice.has_key())
                await until(lambda: machine.keys == "")
            with pytest.raises(RefusedError):
                await made.alice.client.open("", made.port)
            for visit in (made.alice, made.mallory):
                again = await visit.ask()
                again.send(visit.handover(made.pair).first())
                with pytest.raises(RefusedError) as caught:
                    parse_or_raise(HandoverSealed, await again.receive())
                assert caught.value.code is Code.NOT_ALLOWED
                again.close()
            await made.mallory_has_nothing(tries=0)

    run(main)


def test_a_handover_is_led_through_anothers_connection(
    machine: SshMachine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Live: Alice's messages go through Mallory's stream, the share's answers back to Alice."""

    async def main() -> None:
        async with scene(machine, tmp_path, monkeypatch) as made:
            mallorys = await made.mallory.ask()
            handover = made.alice.handover(made.pair)
            mallorys.send(handover.first())
            mallorys.send(handover.second(await mallorys.receive()))
            with pytest.raises(RefusedError) as caught:
                handover.finish(await mallorys.receive())
            assert caught.value.code is Code.WRONG_CODE
            mallorys.close()
            assert not made.alice.has_key()
            await made.mallory_has_nothing(tries=1)

    run(main)


def test_two_handovers_are_crossed_in_the_middle(
    machine: SshMachine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both are under way; Mallory sends Alice's proof in place of her own, and Alice hers."""

    async def main() -> None:
        async with scene(machine, tmp_path, monkeypatch) as made:
            streams = await made.alice.ask(), await made.mallory.ask()
            handovers = (
                made.alice.handover(made.pair),
                made.mallory.handover(made.pair, "not the password"),
            )
            proofs = []
            for messages, handover in zip(streams, handovers, strict=True):
                messages.send(handover.first())
                proofs.append(handover.second(await messages.receive()))
            for messages, proof in zip(streams, reversed(proofs), strict=True):
                messages.send(proof)
                with pytest.raises(RefusedError) as caught:
                    parse_or_raise(HandoverSealed, await messages.receive())
                assert caught.value.code is Code.WRONG_CODE
                messages.close()
            assert not made.alice.has_key()
            await made.mallory_has_nothing(tries=1)

    run(main)
