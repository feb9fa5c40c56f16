"""Who comes in by which code, with joins as guests do them."""

from __future__ import annotations

import asyncio
import os
import shlex
import time

import pytest

from connect_vm.join_share import join_share
from tests.loops import run, until
from tests.share_pair import CODE, NAME, ROUTE, Pair, share_pair, socket_to, tcp_service
from tunnel import join as join_module
from tunnel.alerts import AccessLostError
from tunnel.client import Client
from tunnel.codes import Code
from tunnel.errors import RefusedError
from tunnel.identity import Identity, Role, join_client_context, make_key, make_request
from tunnel.names import JoinCode
from tunnel.tls_messages import TlsMessages
from tunnel.tls_socket import handshake
from vshare import reception
from vshare.handlers import KICKED
from vshare.policy import EVERYTHING, Rights


async def refused(pair: Pair, code: str, guest: str = "bob") -> RefusedError:
    with pytest.raises(RefusedError) as caught:
        await join_share(pair.dial, NAME, JoinCode(code), guest)
    return caught.value


async def join(pair: Pair, code: str, guest: str = "bob") -> Identity:
    return await join_share(pair.dial, NAME, JoinCode(code), guest)


def test_a_guest_is_told_the_route() -> None:
    async def main() -> None:
        async with share_pair() as pair:
            assert (await join(pair, CODE)).route == ROUTE

    run(main)


def test_a_new_code_voids_the_old_one_and_guests_stay() -> None:
    async def main() -> None:
        async with share_pair() as pair, tcp_service() as port:
            bob = await join(pair, CODE)
            fresh = pair.reception.rotate()
            assert fresh != CODE
            assert (await refused(pair, CODE, "carol")).code is Code.WRONG_CODE
            await join(pair, fresh, "carol")
            async with Client(pair.dial, bob, NAME) as client:
                sock, task = await socket_to(client, port)
                sock.close()
                await task
            assert pair.joined == ["bob", "carol"]

    run(main)


def test_an_invite_names_its_guest_and_gives_what_it_says() -> None:
    async def main() -> None:
        async with share_pair() as pair, tcp_service() as port, tcp_service() as other:
            rights = Rights(frozenset({port}))
            invite = pair.reception.invites.make("dba", once=False, expires_at=None, rights=rights)
            identity = await join(pair, invite.code, "whoever")
            guest = pair.guests.named("dba")
            assert (guest.invite, guest.rights) == (invite.plate, rights)
            async with Client(pair.dial, identity, NAME) as client:
                assert (await client.ready()).rights == [str(port)]
                sock, task = await socket_to(client, port)
                sock.close()
                await task
                with pytest.raises(RefusedError, match=f"port {other} is not open to you"):
                    await client.open("", other)

    run(main)


def test_ten_with_a_one_time_invite_one_comes_in() -> None:
    async def main() -> None:
        async with share_pair() as pair:
            made = pair.reception.invites.make(None, once=True, expires_at=None, rights=EVERYTHING)

            async def attempt(number: int) -> bool:
                try:
                    await join(pair, made.code, f"g{number}")
                except RefusedError as error:
                    return error.code not in (Code.NOT_ALLOWED, Code.WRONG_CODE)
                return True

            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(attempt(number)) for number in range(10)]
            assert sum(task.result() for task in tasks) == 1
            assert len(pair.guests.of_role(Role.GUEST)) == 1

    run(main)


def test_an_unknown_plate_is_answered_as_a_wrong_code() -> None:
    async def main() -> None:
        async with share_pair() as pair:
            make = pair.reception.invites.make
            real = make(None, once=True, expires_at=None, rights=EVERYTHING)
            other = next(word for word in ("zoo", "zone") if word != real.plate)
            wrong = await refused(pair, f"{real.plate}-{CODE}")
            unknown = await refused(pair, f"{other}-{CODE}")
            assert (wrong.code, wrong.text) == (unknown.code, unknown.text)
            assert wrong.code is Code.WRONG_CODE
            assert len(pair.failed) == 2

    run(main)


def test_an_invites_time_ends_for_its_guests_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reception, "LOOK_EVERY", 0.001)

    async def main() -> None:
        async with share_pair() as pair:
            make = pair.reception.invites.make
            invite = make("bob", once=False, expires_at=time.time() + 60, rights=EVERYTHING)
            identity = await join(pair, invite.code)
            async with asyncio.TaskGroup() as group:
                ending = group.create_task(pair.reception.end_invites())
                async with Client(pair.dial, identity, NAME) as client:
                    await client.ready()
                    invite.expires_at = time.time()
                    await until(lambda: isinstance(client.state, AccessLostError))
                    assert client.state is not None
                    assert "the time of your invite is over" in client.state.text
                ending.cancel()
            assert pair.reception.invites.all() == []
            assert pair.told("invite-over")

    run(main)


def test_the_sharer_is_asked() -> None:
    async def main() -> None:
        async with share_pair(approve=True) as pair:
            said: list[str] = []
            approvals = pair.reception.approvals
            assert approvals is not None
            async with asyncio.TaskGroup() as group:
                bob = group.create_task(
                    join_share(pair.dial, NAME, CODE, "bob", on_waiting=said.append)
                )
                carol = group.create_task(refused(pair, CODE, "carol"))
                await until(lambda: len(approvals.all()) == 2 and said)
                assert pair.guests.of_role(Role.GUEST) == []
                approvals.answer("bob", welcome=True)
                approvals.answer("carol", welcome=False)
            assert said == ["the sharer is asked to let you in"]
            assert carol.result().code is Code.NOT_ALLOWED
            assert pair.joined == ["bob"]
            assert [each.fields["guest"] for each in pair.told("denied")] == ["carol"]
            async with Client(pair.dial, bob.result(), NAME) as client:
                await client.ready()

    run(main)


def test_two_who_wait_have_two_names() -> None:
    async def main() -> None:
        async with share_pair(approve=True) as pair:
            approvals = pair.reception.approvals
            assert approvals is not None
            async with asyncio.TaskGroup() as group:
                for _ in range(2):
                    group.create_task(join(pair, CODE, "bob"))
                await until(lambda: len(approvals.all()) == 2)
                assert {each.guest for each in approvals.all()} == {"bob", "bob-2"}
                for each in approvals.all():
                    approvals.answer(each.guest, welcome=True)
            assert sorted(pair.joined) == ["bob", "bob-2"]

    run(main)


def test_a_command_that_is_shown_can_be_pasted() -> None:
    """The name in it is the newcomer's."""

    async def main() -> None:
        async with share_pair(approve=True) as pair:
            approvals = pair.reception.approvals
            assert approvals is not None
            async with asyncio.TaskGroup() as group:
                group.create_task(refused(pair, CODE, "-v '$(touch x); bob"))
                await until(approvals.all)
                (waiting,) = approvals.all()
                text = pair.told("waiting")[0].text
                first = text[text.index("vshare approve") : text.index(", or")]
                assert shlex.split(first) == ["vshare", "approve", waiting.guest]
                assert not waiting.guest.startswith("-")
                approvals.answer(waiting.guest, welcome=False)

    run(main)


def test_a_code_that_was_rotated_while_it_was_proven_lets_nobody_in() -> None:
    async def main() -> None:
        async with share_pair() as pair:
            certificate = pair.share_identity.certificate
            sock = await pair.dial()
            context = join_client_context(join_module.ALPN)
            messages = TlsMessages(await handshake(sock, context, server_hostname=f"{NAME}.x"))
            request = make_request(make_key(), "mallory")
            attempt = join_module.GuestJoin(NAME, "mallory", request, CODE, certificate, os.urandom)
            messages.send(attempt.first())
            third = attempt.second(await messages.receive())
            pair.reception.rotate()
            messages.send(third)
            with pytest.raises(RefusedError) as caught:
                attempt.finish(await messages.receive())
            assert caught.value.code is Code.WRONG_CODE
            assert pair.guests.of_role(Role.GUEST) == []
            messages.close()

    run(main)


def test_a_code_that_was_rotated_while_its_guest_waited_lets_nobody_in() -> None:
    async def main() -> None:
        async with share_pair(approve=True) as pair:
            approvals = pair.reception.approvals
            assert approvals is not None
            async with asyncio.TaskGroup() as group:
                waiting = group.create_task(refused(pair, CODE, "bob"))
                await until(approvals.all)
                pair.reception.rotate()
            assert waiting.result().code is Code.NOT_ALLOWED
            assert pair.joined == []
            assert pair.told("approved") == []

    run(main)


def test_who_does_not_know_the_code_is_never_asked_about() -> None:
    async def main() -> None:
        async with share_pair(approve=True) as pair:
            assert (await refused(pair, "zoo-zoo-zoo")).code is Code.WRONG_CODE
            assert pair.told("waiting") == []

    run(main)


def test_an_invite_waits_for_nobody() -> None:
    async def main() -> None:
        async with share_pair(approve=True) as pair:
            make = pair.reception.invites.make
            await join(pair, make("bob", once=True, expires_at=None, rights=EVERYTHING).code)
            assert pair.joined == ["bob"]

    run(main)


def test_who_was_kicked_is_told_so() -> None:
    async def main() -> None:
        async with share_pair() as pair:
            identity = await join(pair, CODE)
            pair.guests.remove(pair.guests.named("bob"), KICKED)
            async with Client(pair.dial, identity, NAME) as client:
                with pytest.raises(AccessLostError, match=KICKED):
                    await client.ready()

    run(main)
