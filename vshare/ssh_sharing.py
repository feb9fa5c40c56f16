"""SSH for guests: a key that is in the machine for as long as the share, and who is handed it.

docs/protocol.md 8.6. With `once` one guest is handed the key, once; it is out of the machine when
that guest's first SSH connection has ended.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from tunnel.codes import Code
from tunnel.errors import LocalProtocolError, RefusedError, RemoteProtocolError, VshareError
from tunnel.identity import Role
from tunnel.key_handover import HANDOVER_TIMEOUT, KeyPackage, ShareHandover, wrong_password
from tunnel.pake import refuse
from tunnel.stream_end import StreamEnd
from tunnel.stream_messages import StreamMessages
from vshare.guests import Guest
from vshare.key_place import KeyPlace
from vshare.news import Newsroom
from vshare.ssh_key import SshKey
from vshare.ssh_leftovers import Leftover, notes_folder
from vshare.ssh_tries import Tries

SPAKE_AT_ONCE = 2  # 18 ms of CPU each, in threads
MAX_EXCHANGES = 3  # of one guest at once: a person types one password; some may be dying


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds: for the messages, for a one-time key to be used, for taking the key back."""

    handover: float = HANDOVER_TIMEOUT
    once: float = 300.0  # the guest's `ssh` starts at once; a password may have to be found
    removal: float = 10.0  # what Ctrl-C may take, at a machine that answers slowly


LIMITS = Limits()


class SshSharing:
    """An async context manager: the key is in the machine inside it, and out of it after.

    `port` is where guests find the machine's SSH server. `user` and `host_keys` are known once
    it is entered; `share_fingerprint`, of the share's certificate, is set before `serve`.
    """

    def __init__(
        self,
        key: SshKey,
        password: str | None,
        place: KeyPlace,
        newsroom: Newsroom,
        *,
        port: int,
        expires_at: float,
        once: bool = False,
        limits: Limits = LIMITS,
        notes: Path | None = None,
    ) -> None:
        self.port = port
        self.once = once
        self.fingerprint = key.fingerprint
        self.share_fingerprint = ""
        self.user = ""
        self.host_keys: tuple[str, ...] = ()
        self._line = key.public
        self._key: SshKey | None = key
        self._password = password
        self.has_password = password is not None
        self._place = place
        self._newsroom = newsroom
        self._expires_at = expires_at
        self._limits = limits
        where = place.where()
        self._note = Leftover(where, key.public, notes or notes_folder()) if where else None
        self._changing = asyncio.Lock()  # the machine's list of keys, by us
        self._group = asyncio.TaskGroup()
        self._tasks: set[asyncio.Task[None]] = set()
        self._spake = asyncio.Semaphore(SPAKE_AT_ONCE)
        self._tries = Tries()
        self._exchanges: dict[str, int] = {}
        self._holder: Guest | None = None  # with `once`: who was handed the key
        self._timer: asyncio.Task[None] | None = None
        self._removed = False

    async def __aenter__(self) -> Self:
        """Put the key into the machine and log in with it. Raises VshareError."""
        key = self._key
        if key is None:
            raise LocalProtocolError("a key is shared once")
        try:
            await _to_the_end(self._insert(self._expires_at))
            logged_in = await self._place.try_key(key, self._password)
            self.user, self.host_keys = logged_in.user, logged_in.host_keys
            self._check_package(key)
        except BaseException:
            await self._take_back()
            raise
        await self._group.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Take the key out of the machine, also when cancelled, within the limit."""
        for task in list(self._tasks):
            task.cancel()
        self._wipe()
        try:
            await self._take_back()
        finally:
            await self._group.__aexit__(kind, error, trace)

    async def extend(self, expires_at: float) -> None:
        """The share ends later (or sooner). Raises VshareError."""
        self._expires_at = expires_at

        async def work() -> None:
            async with asyncio.timeout(self._limits.removal):
                await self._insert(expires_at)

        try:
            await _to_the_end(work())
        except TimeoutError:
            raise VshareError("the machine does not answer") from None

    # -- handing it out

    async def serve(self, guest: Guest, end: StreamEnd) -> None:
        """Speak `ssh-key` on a stream that was accepted. Does not raise VshareError."""
        under_way = self._exchanges.get(guest.fingerprint, 0)
        self._exchanges[guest.fingerprint] = under_way + 1
        messages = StreamMessages(end)
        try:
            if under_way >= MAX_EXCHANGES:
                raise RefusedError(Code.BUSY, "you are asking for the SSH key already")
            if guest.role is not Role.GUEST:
                raise RefusedError(Code.NOT_ALLOWED, "SSH is for guests")
            await self._hand_over(guest, end, messages)
        except (RefusedError, RemoteProtocolError) as error:
            messages.send(refuse(error.code, error.text))
        except TimeoutError:
            messages.send(refuse(Code.TIMED_OUT, "it took too long"))
        except VshareError:  # the guest has gone: nobody to tell
            pass
        finally:
            messages.close()
            self._exchanges[guest.fingerprint] -= 1
            if not self._exchanges[guest.fingerprint]:
                del self._exchanges[guest.fingerprint]

    async def _hand_over(self, guest: Guest, end: StreamEnd, messages: StreamMessages) -> None:
        self._require_key()
        self._tries.require(guest.fingerprint)
        handover = self._handover(guest)
        async with asyncio.timeout(self._limits.handover):
            first = await messages.receive()
            if not self.has_password:
                self._give(guest, end, messages, handover, first)
                return
            async with self._spake:
                second = await asyncio.to_thread(handover.answer, first)
        self._tries.count(guest.fingerprint)  # hanging up now is a guess as well
        messages.send(second)
        try:
            async with asyncio.timeout(self._limits.handover):
                handover.confirm(await messages.receive())
        except RefusedError:
            self._tell_wrong(guest, "gave a wrong SSH password")
            raise wrong_password(self._tries.left(guest.fingerprint)) from None
        except (VshareError, TimeoutError):
            self._tell_wrong(guest, "broke off after trying an SSH password")
            raise
        self._tries.succeeded(guest.fingerprint)
        self._give(guest, end, messages, handover)

    def _handover(self, guest: Guest) -> ShareHandover:
        if not self.share_fingerprint:
            raise LocalProtocolError("the share's fingerprint is not set")
        guest_print, share_print = map(bytes.fromhex, (guest.fingerprint, self.share_fingerprint))
        return ShareHandover(self._password, guest_print, share_print, os.urandom)

    def _give(
        self,
        guest: Guest,
        end: StreamEnd,
        messages: StreamMessages,
        handover: ShareHandover,
        first: bytes = b"",
    ) -> None:
        """Send the key. In one step, without a wait: of ten who ask at once one is the first."""
        key = self._require_key()
        package = self._package(key)
        message = handover.seal(package) if self.has_password else handover.open(first, package)
        if end.finished.done():
            return  # the guest has gone before anything left: the next one may have it
        if self.once:
            self._holder = guest
            self._timer = self._spawn(self._end_unless_used(), "one-time key")
        guest.has_ssh_key = True
        messages.send(message)
        self._newsroom.tell("ssh-key", f"{guest.name} was handed the SSH key", guest=guest.name)

    def _require_key(self) -> SshKey:
        """The key, unless it is given away. Raises RefusedError."""
        if self._holder is not None:
            raise RefusedError(Code.NOT_ALLOWED, "the one-time key has been handed out already")
        if self._key is None:
            raise RefusedError(Code.CLOSED, "the share is ending")
        return self._key

    def _package(self, key: SshKey) -> KeyPackage:
        return KeyPackage(
            self.user, self.port, list(self.host_keys), key.private, self.has_password, self.once
        )

    def _check_package(self, key: SshKey) -> None:
        """Raise VshareError for what guests would not take, such as a strange user's name."""
        try:
            data = msgspec.msgpack.encode(self._package(key))
            msgspec.msgpack.decode(data, type=KeyPackage)
        except msgspec.MsgspecError as error:
            raise VshareError(
                f"SSH as {self.user[:40]!r} cannot be shared: {error}", "share without --ssh"
            ) from error

    def _tell_wrong(self, guest: Guest, what: str) -> None:
        left = self._tries.left(guest.fingerprint)
        self._newsroom.tell(
            "ssh-password-wrong",
            f"{guest.name} {what} ({left} {'try' if left == 1 else 'tries'} left)",
            warning=True,
            guest=guest.name,
            left=left,
        )
        if self._tries.locked:
            self._newsroom.tell(
                "notice",
                f"SSH is closed for newcomers: {self._tries.failures} wrong passwords were tried;"
                " start a new share to open it again",
                warning=True,
            )

    # -- once

    def ssh_opened(self, guest: Guest) -> None:
        """The machine's SSH server has accepted a connection of this guest's."""
        if guest is self._holder and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def ssh_closed(self, guest: Guest) -> None:
        """A connection of this guest's to the SSH server, once opened, has ended."""
        if guest is self._holder and self._key is not None:
            self._spawn(self._use_up(), "one-time key's end")
            self._close(guest)

    async def _end_unless_used(self) -> None:
        await asyncio.sleep(self._limits.once)
        if self._holder is not None:
            self._close(self._holder)
            await self._use_up()

    def _close(self, guest: Guest) -> None:
        guest.has_ssh_key = False
        self._wipe()

    async def _use_up(self) -> None:
        if await self._take_back():
            self._newsroom.tell("ssh-key-removed", "the one-time SSH key is out of the machine")

    # -- the machine

    async def _insert(self, expires_at: float) -> None:
        async with self._changing:
            if self._removed:
                return  # it is out for good; who extends may have waited for that
            if self._note is not None:
                await asyncio.to_thread(self._note.write, expires_at)
            ends = await self._place.insert(self._line, expires_at)
            if ends and self._note is not None:
                await asyncio.to_thread(self._note.write, expires_at, ends_by_itself=True)

    async def _take_back(self) -> bool:
        """Take the key out of the machine, to the end of it, whatever cancels us meanwhile.

        False if that failed: the sharer is told, and the note stays for the next run.
        """

        async def work() -> None:
            try:
                async with asyncio.timeout(self._limits.removal):
                    await self._remove()
            except TimeoutError:
                self._tell_left_behind("the machine does not answer")
            except VshareError as error:
                self._tell_left_behind(error.text)

        await _to_the_end(work())
        return self._removed

    async def _remove(self) -> None:
        async with self._changing:
            if self._removed:
                return
            await self._place.remove(self._line)
            self._removed = True
            if self._note is not None:
                await asyncio.to_thread(self._note.remove)

    def _tell_left_behind(self, why: str) -> None:
        self._newsroom.tell(
            "notice",
            f"the SSH key could not be taken out of the machine: {why};"
            " the next `vshare up` tries again",
            warning=True,
        )

    def _wipe(self) -> None:
        """Keep the private key and the password in memory no longer."""
        self._key = None
        self._password = None

    def _spawn(self, work: Coroutine[None, None, None], name: str) -> asyncio.Task[None]:
        task = self._group.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


async def _to_the_end(work: Coroutine[None, None, None]) -> None:
    """Await `work`, which has a limit of its own; if we are cancelled, first wait for its end: what
    is half done inside the machine could not be undone."""
    over = asyncio.Event()

    async def tell_the_end() -> None:
        try:
            await work
        finally:
            over.set()

    try:
        await asyncio.shield(tell_the_end())
    except asyncio.CancelledError:
        await over.wait()
        raise
