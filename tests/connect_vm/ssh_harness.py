"""A share of this host with SSH, in a thread of its own, for commands to log in to."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import uvloop

from tests.share_pair import CODE, NAME, Pair, share_pair
from tests.vshare.ssh_machine import ssh_machine
from tunnel.identity import fingerprint
from vshare.authorized_keys import AuthorizedKeys
from vshare.machine import SshAccess
from vshare.news import Newsroom
from vshare.policy import Policy
from vshare.ssh_key import SshKey, make_key
from vshare.ssh_link import SshLink
from vshare.ssh_sharing import SshSharing

PASSWORD = "correct horse"


@dataclass
class Sharing:
    """A share that runs in another thread; `info` is what it answers to `share-info`."""

    pair: Pair
    ssh: SshSharing
    key: SshKey
    info: dict[str, object]
    folder: Path
    loop: asyncio.AbstractEventLoop = field(repr=False)

    def __post_init__(self) -> None:
        self.runtime = self.folder / "run"
        self.runtime.mkdir(mode=0o700)
        self.code_file = self.folder / "code"
        self.code_file.write_text(CODE)
        self.password_file = self.folder / "password"
        self.password_file.write_text(PASSWORD + "\n")

    @property
    def line(self) -> str:
        return f"{NAME}@127.0.0.1:{self.pair.port}"

    @property
    def arguments(self) -> list[str]:
        """A command line that asks nothing."""
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

    def left_behind(self) -> list[Path]:
        return sorted(self.runtime.rglob("*"))


@contextlib.contextmanager
def sharing(folder: Path, password: str | None = PASSWORD, once: bool = False) -> Iterator[Sharing]:
    """A share with SSH, and an OpenSSH server that takes its key."""
    key = make_key("test", password)
    info: dict[str, object] = {
        "machine": "box",
        "ssh": "password" if password is not None else "open",
        "ssh_once": once,
    }
    started: list[Sharing] = []
    ready, end = threading.Event(), asyncio.Event()

    async def main(access: SshAccess) -> None:
        port = access.port or 22
        rules = Policy(names=frozenset({NAME}), ssh_ports=frozenset({port}), ssh_shared=True)
        async with SshLink(access) as link:
            ssh = SshSharing(
                key,
                password,
                AuthorizedKeys(link),
                Newsroom(),
                port=port,
                expires_at=time.time() + 600,
                once=once,
                notes=folder / "notes",
            )
            async with ssh, share_pair(rules, ssh=ssh) as pair:
                ssh.share_fingerprint = fingerprint(pair.share_identity.certificate)
                calls = cast(dict[str, object], pair.streams._calls)
                calls["share-info"] = lambda guest, policy: info
                calls["shared-ports"] = lambda guest, policy: {}
                loop = asyncio.get_running_loop()
                started.append(Sharing(pair, ssh, key, info, folder, loop))
                ready.set()
                await end.wait()

    def serve(access: SshAccess) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            try:
                runner.run(main(access))
            finally:
                ready.set()

    with ssh_machine(folder) as machine:
        thread = threading.Thread(target=serve, args=[machine.access])
        thread.start()
        try:
            assert ready.wait(15)
            yield started[0]
        finally:
            if started:
                started[0].loop.call_soon_threadsafe(end.set)
            thread.join()
        assert key.blob not in machine.keys
