from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncssh
import pytest

from tests.loops import run, until
from tests.tls_pair import connection_pair
from tests.vshare.ssh_machine import SshMachine, ssh_machine
from tunnel.codes import Code
from tunnel.connection import Connection
from tunnel.errors import LostError, RefusedError, VshareError
from tunnel.frames import Open
from tunnel.identity import Role
from tunnel.key_handover import PROTOCOL, GuestHandover, KeyPackage
from tunnel.stream_end import StreamEnd
from tunnel.stream_messages import StreamMessages
from vshare import ssh_key
from vshare.authorized_keys import AuthorizedKeys
from vshare.guests import Guest
from vshare.machine import SshAccess
from vshare.news import News, Newsroom
from vshare.ssh_key import SshKey, make_key
from vshare.ssh_link import SshLink
from vshare.ssh_sharing import Limits, SshSharing
from vshare.ssh_tries import Tries

pytestmark = pytest.mark.programs

PASSWORD = "correct-horse"
SHARE = "5a" * 32  # a fingerprint
SSH_PORT = 2222  # what guests are told


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshMachine]:
    with ssh_machine(tmp_path_factory.mktemp("machine")) as machine:
        yield machine


@functools.cache
def key_for(password: str | None) -> SshKey:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ssh_key, "KDF_ROUNDS", 1)
        return make_key("vshare-test", password)


class Shared:
    """A share's SSH with the news of it."""

    def __init__(self, link: SshLink, notes: Path, password: str | None, **options: object) -> None:
        newsroom = Newsroom()
        self.news: list[News] = []
        newsroom.subscribe(self.news.append)
        self.notes = notes
        self.sharing = SshSharing(
            key_for(password),
            password,
            AuthorizedKeys(link),
            newsroom,
            port=SSH_PORT,
            expires_at=time.time() + 600,
            notes=notes,
            **options,  # type: ignore[arg-type]  # they are the tests' own
        )
        self.sharing.share_fingerprint = SHARE

    def told(self, kind: str) -> list[News]:
        return [each for each in self.news if each.kind == kind]


@contextlib.asynccontextmanager
async def shared(
    machine: SshMachine, notes: Path, password: str | None = PASSWORD, **options: object
) -> AsyncIterator[Shared]:
    async with SshLink(machine.access) as link:
        made = Shared(link, notes, password, **options)
        async with made.sharing:
            yield made


def only_note(folder: Path) -> str:
    (path,) = folder.iterdir()
    return path.read_text()


def has_key(guest: Guest) -> bool:
    """Asked anew: mypy believes that attributes stay as they were."""
    return guest.has_ssh_key


def new_guest(number: int = 0, role: Role = Role.GUEST) -> Guest:
    return Guest(f"bob{number}", role, f"{number:064x}", "test")


@contextlib.asynccontextmanager
async def asking(sharing: SshSharing, guest: Guest) -> AsyncIterator[StreamEnd]:
    """A stream of the guest's that `sharing` serves."""
    client, share, _ = await connection_pair()
    ours, theirs = await stream(client, share)
    serving = asyncio.get_running_loop().create_task(sharing.serve(guest, theirs))
    try:
        yield ours
        await serving
    finally:
        serving.cancel()
        await asyncio.wait([serving])
        client.abort("test")
        share.abort("test")


async def stream(client: Connection, share: Connection) -> tuple[StreamEnd, StreamEnd]:
    ours = client.open(Open(os.urandom(16), PROTOCOL, "", 0))
    _, theirs = await share.next_open()
    share.accept(theirs)
    await ours.opened
    return ours, theirs


async def ask(
    sharing: SshSharing, guest: Guest, password: str | None = PASSWORD, *, until_message: int = 4
) -> KeyPackage | None:
    """Be the guest; `until_message` 3 hangs up before the password is confirmed."""
    async with asking(sharing, guest) as end:
        messages = StreamMessages(end)
        prints = bytes.fromhex(guest.fingerprint), bytes.fromhex(SHARE)
        handover = GuestHandover(password, *prints, os.urandom)
        try:
            messages.send(handover.first())
            second = await messages.receive()
            if password is None:
                return handover.open(second)
            third = handover.second(second)
            if until_message == 3:
                return None
            messages.send(third)
            return handover.finish(await messages.receive())
        finally:
            messages.close()


async def refused(sharing: SshSharing, guest: Guest, password: str | None = PASSWORD) -> str:
    with pytest.raises(RefusedError) as refusal:
        await ask(sharing, guest, password)
    assert not guest.has_ssh_key
    return refusal.value.text


# -- the key in the machine


def test_the_key_is_in_the_machine_for_as_long_as_the_share(
    machine: SshMachine, tmp_path: Path
) -> None:
    async def main() -> None:
        async with shared(machine, tmp_path) as share:
            assert key_for(PASSWORD).blob in machine.keys
            assert "expiry-time=" in machine.keys
            assert share.sharing.user == machine.access.user
            assert share.sharing.host_keys == machine.host_keys
            assert len(os.listdir(tmp_path)) == 1
        assert machine.keys == ""
        assert os.listdir(tmp_path) == []

    run(main)


@pytest.mark.parametrize("twice", [False, True])
def test_a_cancelled_share_still_takes_its_key_back(
    machine: SshMachine, tmp_path: Path, *, twice: bool
) -> None:
    async def share_for_ever(ready: asyncio.Event) -> None:
        async with shared(machine, tmp_path):
            ready.set()
            await asyncio.Event().wait()

    async def main() -> None:
        ready = asyncio.Event()
        task = asyncio.get_running_loop().create_task(share_for_ever(ready))
        await ready.wait()
        assert machine.keys
        task.cancel()
        if twice:  # while the key is on its way out
            await asyncio.sleep(0.001)
            task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert machine.keys == ""
        assert os.listdir(tmp_path) == []

    run(main)


@pytest.mark.parametrize("after", [0, 15, 30, 60, 120])
def test_cancelled_at_any_moment_of_its_start(
    machine: SshMachine, tmp_path: Path, after: int
) -> None:
    """`after` milliseconds: log-in, script, log-in with the key; whatever is reached."""

    async def main() -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(after / 1000), shared(machine, tmp_path, None):
                await asyncio.Event().wait()
        assert machine.keys == ""
        assert os.listdir(tmp_path) == []

    run(main)


def test_a_key_that_is_not_accepted_does_not_stay(tmp_path: Path) -> None:
    async def main(elsewhere: SshMachine) -> None:
        with pytest.raises(VshareError, match="does not accept the key"):
            async with shared(elsewhere, tmp_path / "notes", None):
                pass
        assert elsewhere.keys == ""
        assert list((tmp_path / "notes").iterdir()) == []

    with ssh_machine(tmp_path, keys="/nonexistent") as elsewhere:
        run(lambda: main(elsewhere))


def test_a_machine_that_has_gone_leaves_a_note_and_a_warning(tmp_path: Path) -> None:
    async def main() -> None:
        async with SshLink(access) as link:
            share = Shared(link, tmp_path / "notes", None)
            async with share.sharing:
                (await link.connection()).abort()  # its sshd ends with its last connection
                await asyncio.to_thread(stack.close)
            (warning,) = share.told("notice")
            assert warning.warning
            assert "could not be taken out of the machine" in warning.text
            assert len(list((tmp_path / "notes").iterdir())) == 1

    with contextlib.ExitStack() as stack:
        access: SshAccess = stack.enter_context(ssh_machine(tmp_path)).access
        run(main)


def test_a_share_that_lasts_longer(machine: SshMachine, tmp_path: Path) -> None:
    async def main() -> None:
        async with shared(machine, tmp_path, None) as share:
            before, note = machine.keys, only_note(tmp_path)
            await share.sharing.extend(time.time() + 7200)
            assert machine.keys.count(key_for(None).blob) == 1
            assert machine.keys != before
            assert only_note(tmp_path) != note
        assert machine.keys == ""

    run(main)


# -- handing it out


@pytest.mark.parametrize("password", [PASSWORD, None])
def test_the_guest_gets_a_key_that_opens_the_machine(
    machine: SshMachine, tmp_path: Path, password: str | None
) -> None:
    async def main() -> None:
        async with shared(machine, tmp_path, password) as share:
            guest = new_guest()
            package = await ask(share.sharing, guest, password)
            assert package is not None
            assert guest.has_ssh_key
            assert (package.user, package.port) == (machine.access.user, SSH_PORT)
            assert package.host_keys == list(machine.host_keys)
            assert (package.encrypted, package.once) == (password is not None, False)
            key = asyncssh.import_private_key(package.private_key, password)
            async with asyncssh.connect(
                "127.0.0.1",
                machine.access.port,
                username=package.user,
                client_keys=[key],
                known_hosts=None,
                config=None,
            ) as ssh:
                assert (await ssh.run("echo in")).stdout == "in\n"
            (told,) = share.told("ssh-key")
            assert told.fields == {"guest": "bob0"}
            assert PASSWORD not in str(share.news)

    run(main)


def test_three_tries_and_no_more(machine: SshMachine, tmp_path: Path) -> None:
    async def main() -> None:
        async with shared(machine, tmp_path) as share:
            mallory, bob = new_guest(1), new_guest(2)
            for left in ("2 tries left", "1 try left", "no tries are left"):
                assert left in await refused(share.sharing, mallory, "hunter2222")
            assert "the limit" in await refused(share.sharing, mallory)  # the right one
            assert [each.fields["left"] for each in share.told("ssh-password-wrong")] == [2, 1, 0]
            assert all(each.warning for each in share.told("ssh-password-wrong"))
            assert await ask(share.sharing, bob) is not None  # others are not held up

    run(main)


def test_hanging_up_after_the_shares_message_is_a_try(machine: SshMachine, tmp_path: Path) -> None:
    async def main() -> None:
        async with shared(machine, tmp_path) as share:
            mallory = new_guest(1)
            for _ in range(3):
                assert await ask(share.sharing, mallory, until_message=3) is None
            assert "the limit" in await refused(share.sharing, mallory)

    run(main)


def test_the_right_password_costs_no_try(machine: SshMachine, tmp_path: Path) -> None:
    async def main() -> None:
        async with shared(machine, tmp_path) as share:
            bob = new_guest()
            for _ in range(5):
                assert await ask(share.sharing, bob) is not None
            bob.has_ssh_key = False
            assert "2 tries left" in await refused(share.sharing, bob, "hunter2222")

    run(main)


def test_nonsense_costs_no_try(machine: SshMachine, tmp_path: Path) -> None:
    async def main() -> None:
        async with shared(machine, tmp_path) as share:
            bob = new_guest()
            for nonsense in (b"", b"\xff" * 100, b"\x92\x01\xc4\x21" + b"\xff" * 33):
                async with asking(share.sharing, bob) as end:
                    messages = StreamMessages(end)
                    messages.send(nonsense)
                    assert await messages.receive()
                    messages.close()
            assert "has a password" in await refused(share.sharing, bob, None)
            assert await ask(share.sharing, bob) is not None
            assert share.told("ssh-password-wrong") == []

    run(main)


def test_a_crowd_of_new_names_is_locked_out(machine: SshMachine, tmp_path: Path) -> None:
    async def main() -> None:
        async with shared(machine, tmp_path) as share:
            share.sharing._tries = Tries(in_all=6)
            early = new_guest(999)
            assert await ask(share.sharing, early) is not None
            for number in range(6):
                with pytest.raises(RefusedError):
                    await ask(share.sharing, new_guest(number), "hunter2222")
            assert "closed for newcomers" in await refused(share.sharing, new_guest(1000))
            assert early.has_ssh_key
            (notice,) = share.told("notice")
            assert notice.warning
            assert len(share.told("ssh-password-wrong")) == 6

    run(main)


def test_who_says_nothing_is_ended(machine: SshMachine, tmp_path: Path) -> None:
    async def main() -> None:
        async with shared(machine, tmp_path, limits=Limits(handover=0.05)) as share:
            async with asking(share.sharing, new_guest()) as end:
                messages = StreamMessages(end)
                assert await messages.receive()  # a refusal
                with pytest.raises(LostError):
                    await messages.receive()
                messages.close()
            assert share.told("ssh-password-wrong") == []

    run(main)


def test_a_guest_asks_in_a_few_streams_at_most(machine: SshMachine, tmp_path: Path) -> None:
    async def main() -> None:
        async with shared(machine, tmp_path) as share, contextlib.AsyncExitStack() as stack:
            bob = new_guest()
            ends = [await stack.enter_async_context(asking(share.sharing, bob)) for _ in range(3)]
            assert "already" in await refused(share.sharing, bob)
            assert await ask(share.sharing, new_guest(1)) is not None
            for end in ends:
                end.reset(Code.CLOSED)

    run(main)


def test_the_gateway_gets_no_key(machine: SshMachine, tmp_path: Path) -> None:
    async def main() -> None:
        async with shared(machine, tmp_path) as share:
            gateway = new_guest(role=Role.GATEWAY)
            assert await refused(share.sharing, gateway) == "SSH is for guests"

    run(main)


# -- once


def test_of_ten_at_the_same_instant_one_gets_the_one_time_key(
    machine: SshMachine, tmp_path: Path
) -> None:
    async def main() -> None:
        async with shared(machine, tmp_path, once=True) as share:
            guests = [new_guest(number) for number in range(10)]
            packages: list[KeyPackage | None] = []
            failures: list[tuple[Code, str]] = []

            async def try_it(guest: Guest) -> None:
                try:
                    packages.append(await ask(share.sharing, guest))
                except RefusedError as error:
                    failures.append((error.code, error.text))

            async with asyncio.TaskGroup() as group:
                for guest in guests:
                    group.create_task(try_it(guest))
            assert len(packages) == 1
            assert packages[0] is not None
            assert packages[0].once
            text = "the one-time key has been handed out already"
            assert failures == [(Code.NOT_ALLOWED, text)] * 9
            assert sum(guest.has_ssh_key for guest in guests) == 1
            assert len(share.told("ssh-key")) == 1
            holder = next(guest for guest in guests if guest.has_ssh_key)
            with pytest.raises(RefusedError, match="handed out already"):
                await ask(share.sharing, holder)  # not twice either

    run(main)


def test_a_one_time_key_ends_with_the_first_connection(machine: SshMachine, tmp_path: Path) -> None:
    async def main() -> None:
        async with shared(machine, tmp_path, once=True, limits=Limits(once=0.3)) as share:
            bob, carol = new_guest(), new_guest(1)
            assert await ask(share.sharing, bob) is not None
            share.sharing.ssh_opened(bob)
            await asyncio.sleep(0.4)  # a connection may last longer than one may take to come
            share.sharing.ssh_opened(bob)
            share.sharing.ssh_closed(carol)  # not hers
            assert machine.keys
            assert has_key(bob)
            share.sharing.ssh_closed(bob)
            assert not has_key(bob)
            await until(lambda: share.told("ssh-key-removed"))
            assert machine.keys == ""
            assert os.listdir(tmp_path) == []
            share.sharing.ssh_closed(bob)
            assert "handed out already" in await refused(share.sharing, carol)
            assert "PRIVATE KEY" not in str(vars(share.sharing))
            assert PASSWORD not in str(vars(share.sharing))
            await share.sharing.extend(time.time() + 7200)  # brings nothing back
            assert machine.keys == ""
        assert len(share.told("ssh-key-removed")) == 1

    run(main)


def test_a_one_time_key_that_nobody_uses_ends(machine: SshMachine, tmp_path: Path) -> None:
    async def main() -> None:
        async with shared(machine, tmp_path, once=True, limits=Limits(once=0.05)) as share:
            bob = new_guest()
            assert await ask(share.sharing, bob) is not None
            await until(lambda: share.told("ssh-key-removed"))
            assert machine.keys == ""
            assert not bob.has_ssh_key

    run(main)


def test_who_vanishes_before_the_key_left_has_not_had_it(
    machine: SshMachine, tmp_path: Path
) -> None:
    async def main() -> None:
        async with shared(machine, tmp_path, None, once=True) as share:
            vanished, bob = new_guest(), new_guest(1)
            client, connection, _ = await connection_pair()
            _, theirs = await stream(client, connection)
            messages = StreamMessages(theirs)
            client.abort("gone")
            await until(theirs.finished.done)
            prints = bytes.fromhex(vanished.fingerprint), bytes.fromhex(SHARE)
            first = GuestHandover(None, *prints, os.urandom).first()
            sharing = share.sharing
            sharing._give(vanished, theirs, messages, sharing._handover(vanished), first)
            messages.close()
            assert not vanished.has_ssh_key
            assert await ask(share.sharing, bob, None) is not None

    run(main)


def test_extending_does_not_bring_a_used_up_key_back(machine: SshMachine, tmp_path: Path) -> None:
    """While it is being taken out of the machine, somebody runs `vshare extend`."""

    async def main() -> None:
        async with shared(machine, tmp_path, None, once=True) as made:
            assert machine.keys.count(" vshare-") == 1
            async with asyncio.TaskGroup() as group:
                group.create_task(made.sharing._use_up())
                await asyncio.sleep(0)  # it has the lock now
                group.create_task(made.sharing.extend(time.time() + 3600))
            assert " vshare-" not in machine.keys
        assert " vshare-" not in machine.keys

    run(main)
