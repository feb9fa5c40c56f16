"""A share of this host that hands out an SSH key, in a thread of its own, for commands to use."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast
from unittest import mock

import uvloop

from tests import share_pair as pairs
from tests.share_pair import CODE, NAME, Pair
from tests.vshare.peers import Sshd, openssh
from tunnel.codes import Code
from tunnel.connection import Connection, StreamEnd
from tunnel.errors import RefusedError, VshareError
from tunnel.frames import Notice, Open
from tunnel.key_handover import PROTOCOL, TRIES, KeyPackage, ShareHandover, wrong_password
from tunnel.pake import refuse
from tunnel.stream_messages import StreamMessages
from vshare.guests import Guest
from vshare.policy import Policy
from vshare.server import ShareServer
from vshare.ssh_key import make_key

PASSWORD = "correct horse"


@dataclass
class SshOffer:
    """What the share says and hands out; tests change it before they connect."""

    package: KeyPackage
    password: str | None
    info: dict[str, object]
    refusal: RefusedError | None = None
    handed_out: int = 0
    wrong: int = 0
    silent: bool = False


class SshShare(ShareServer):
    """A share with the `ssh-key` protocol."""

    offer: SshOffer

    async def _serve_stream(
        self, connection: Connection, guest: Guest, message: Open, end: StreamEnd
    ) -> None:
        if message.protocol != PROTOCOL:
            await super()._serve_stream(connection, guest, message, end)
            return
        connection.accept(end)
        messages = StreamMessages(end)
        try:
            await self._hand_over(guest, messages)
        except RefusedError as error:
            messages.send(refuse(error.code, error.text))
        except VshareError:
            self.offer.wrong += 1
        finally:
            messages.close()

    async def _hand_over(self, guest: Guest, messages: StreamMessages) -> None:
        offer = self.offer
        ours = hashlib.sha256(self._identity.certificate).digest()
        theirs = bytes.fromhex(guest.fingerprint)
        handover = ShareHandover(offer.password, theirs, ours, os.urandom)
        first = await messages.receive()
        if offer.refusal is not None:
            raise offer.refusal
        if offer.silent:
            await asyncio.Event().wait()
        if offer.password is None:
            messages.send(handover.open(first, offer.package))
        else:
            if offer.wrong >= TRIES:
                raise RefusedError(Code.NOT_ALLOWED, "no tries are left")
            messages.send(handover.answer(first))
            try:
                handover.confirm(await messages.receive())
            except RefusedError:
                offer.wrong += 1
                raise wrong_password(TRIES - offer.wrong) from None
            messages.send(handover.seal(offer.package))
        offer.handed_out += 1


@dataclass
class Sharing:
    """A share that runs in another thread."""

    offer: SshOffer
    sshd: Sshd
    pair: Pair
    folder: Path
    runtime: Path
    code_file: Path
    password_file: Path
    private: bytes
    loop: asyncio.AbstractEventLoop = field(repr=False)

    @property
    def line(self) -> str:
        return f"{NAME}@127.0.0.1:{self.pair.port}"

    @property
    def arguments(self) -> list[str]:
        files = ["--code-file", self.code_file, "--ssh-password-file", self.password_file]
        return ["--ssh", self.line, *map(str, files)]

    @property
    def environment(self) -> dict[str, str]:
        """For a command: its temporary files go where the test can look at them."""
        known = {**os.environ, "XDG_RUNTIME_DIR": str(self.runtime), "TMPDIR": str(self.runtime)}
        return known | {"SSH_AUTH_SOCK": "/nowhere", "TERM": "dumb"}

    def do(self, work: Callable[[], None]) -> None:
        """Run `work` in the share's loop."""
        done = threading.Event()
        self.loop.call_soon_threadsafe(work)
        self.loop.call_soon_threadsafe(done.set)
        assert done.wait(10)

    def tell(self, notice: Notice) -> None:
        """Send a notice on every connection, as a share does."""

        def send() -> None:
            for connection in list(self.pair.server._connections):
                connection.send_notice(notice)

        self.do(send)

    def left_behind(self) -> list[Path]:
        return sorted(self.runtime.rglob("*"))


@contextlib.contextmanager
def sharing(folder: Path, password: str | None = PASSWORD, once: bool = False) -> Iterator[Sharing]:
    """A share with SSH, and an OpenSSH server that takes its key."""
    key = make_key("test", password)
    (folder / "user_key").write_text("not here")
    (folder / "user_key.pub").write_text(key.public)
    runtime = folder / "run"
    runtime.mkdir(mode=0o700)
    (folder / "code").write_text(CODE)
    (folder / "password").write_text(f"{password}\n")
    with openssh(folder) as sshd, contextlib.ExitStack() as stack:
        access = sshd.access
        host_key = " ".join((folder / "host_key.pub").read_text().split()[:2])
        package = KeyPackage(
            access.user or "", access.port, [host_key], key.private, password is not None, once
        )
        how = "open" if password is None else "password"
        offer = SshOffer(package, password, {"machine": "box", "ssh": how, "ssh_once": once})
        pair, loop = stack.enter_context(_in_a_thread(offer))
        yield Sharing(
            offer,
            sshd,
            pair,
            folder,
            runtime,
            folder / "code",
            folder / "password",
            key.private,
            loop,
        )


@contextlib.contextmanager
def _in_a_thread(offer: SshOffer) -> Iterator[tuple[Pair, asyncio.AbstractEventLoop]]:
    started: list[tuple[Pair, asyncio.AbstractEventLoop, asyncio.Event]] = []
    ready = threading.Event()

    async def main() -> None:
        SshShare.offer = offer
        rules = Policy(names=frozenset({NAME}), ssh_ports=frozenset())
        async with contextlib.AsyncExitStack() as stack:
            with mock.patch.object(pairs, "ShareServer", SshShare):
                pair = await stack.enter_async_context(pairs.share_pair(rules))
            calls = cast(dict[str, object], pair.server._calls)
            calls["share-info"] = lambda guest: offer.info
            calls["shared-ports"] = lambda guest: {"listening": []}
            end = asyncio.Event()
            started.append((pair, asyncio.get_running_loop(), end))
            ready.set()
            await end.wait()

    def serve() -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(main())

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        assert ready.wait(15)
        pair, loop, end = started[0]
        yield pair, loop
    finally:
        if started:
            loop.call_soon_threadsafe(end.set)
        thread.join()
